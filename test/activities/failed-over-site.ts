/** A VM with several recovery points that was failed over: both sites are real, and what each point holds is kept in files. */
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, type TestContext } from 'vitest';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { MiB, pattern } from '../replication/model.js';
import { requireReader, runReader } from '../support/readers.js';
import { watchedStore } from '../support/watched-store.js';
import type { Hypervisor } from '../../ports/hypervisor.js';
import type { RecoveryCompute } from '../../ports/recovery-compute.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';
import { DISK_BYTES, guestWrites, openSite, run, seed, VM } from './embedded-site.js';

export type Site = Awaited<ReturnType<typeof openSite>>;
export const vm = VM;
export const DISKS = ['os', 'data'] as const;

/** Of a recovery point: a copy of the source's disks at its instant. */
const copyOf = ({ folder }: Site, point: string, disk: string) => join(folder, `${point}-${disk}.then`);

/** Three points, the last one of the failover. The replica VM runs in epoch 2. */
export async function failedOver(context: Pick<TestContext, 'skip'>) {
  requireReader('qemu-img', context);
  const site = await openSite();
  const all = site.activities();
  await seed(site);
  const points: string[] = [];
  for (const sequence of [1, 2, 3]) {
    await guestWrites(site, 'os', sequence * MiB, sequence * 50);
    if (sequence === 2) await guestWrites(site, 'data', MiB, 7);
    if (sequence === 3) await run(all.shutDownVm, { vm });
    const cycle = { vm, epoch: 1, sequence };
    await run(all.cutAndShip, cycle);
    const { recoveryPoint } = await run(all.applyCycle, { ...cycle, retentionHours: 2 });
    points.push(recoveryPoint!.id);
    for (const { name, path } of site.disks) await copyFile(path, copyOf(site, recoveryPoint!.id, name));
  }
  await run(all.finalizeReplica, { vm, epoch: 1, ...(await networks(all)) });
  await run(all.fenceVm, { vm, epoch: 2 });
  await run(all.startFailover, { vm, epoch: 1, failoverEpoch: 2 });
  await run(all.startReplicaVm, { vm, epoch: 2 });
  return { site, all, points };
}

const networks = async ({ resolveNetworks }: ReturnType<Site['activities']>) => ({
  networkAdapters: await run(resolveNetworks, { vm }),
});

/** As its guest. */
export async function writeAtRecoverySite({ compute }: Site, disk: string, bytes: number, at = 0): Promise<void> {
  const { disks } = await compute.describeVm(vm);
  const guest = await NbdGuest.connect(disks.find(({ name }) => name === disk)!.nbdUri!);
  await guest.write(pattern(bytes, 1234), at);
  await guest.flush();
  await guest.close();
}

/** What the replica VM serves is what the source held at the instant of the point, to the last byte: as qemu sees it. */
export async function expectAtPoint(site: Site, point: string): Promise<void> {
  const { disks } = await site.compute.describeVm(vm);
  for (const name of DISKS) {
    const { nbdUri } = disks.find((disk) => disk.name === name)!;
    const said = await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', copyOf(site, point, name), nbdUri!);
    expect(said).toContain('identical');
  }
}

/** The source's disks are what they were at the instant of the point. */
export async function expectSourceAtPoint(site: Site, point: string): Promise<void> {
  for (const { name, path } of site.disks) {
    expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', copyOf(site, point, name), path)).toContain(
      'identical',
    );
  }
}

/** Fails if the VM runs at both sites. @returns whether it runs at the primary site, and at the recovery site. */
export async function sides({ hypervisor, compute }: Site): Promise<{ primary: boolean; recovery: boolean }> {
  const primary = (await hypervisor.describeVm(vm)).state === 'Running';
  const recovery = (await compute.listVms()).some(({ name, state }) => name === vm && state === 'Running');
  expect(primary && recovery, 'it runs at both sites').toBe(false);
  return { primary, recovery };
}

/** The replica, opened by itself, holds what the source's disks hold. */
export async function expectReplicaEqual({ disks, storeFolder }: Site): Promise<void> {
  for (const { name, path } of disks) {
    const replica = await readFile(join(storeFolder, ...replicaBlobName(VM, name).split('/')));
    expect(replica.subarray(0, DISK_BYTES).equals(await readFile(path)), name).toBe(true);
  }
}

export interface Killed {
  readonly all: ReturnType<Site['activities']>;
  /** Whether it has been killed. */
  isDead(): boolean;
}

const CHANGES =
  /^objects\.(put|raiseFence)|^compute\.(turnOff|delete|create|start)|^hypervisor\.(continue|start|merge)/;

/** Activities of workers that are killed just before their nth change, and do nothing more. */
export function killedAt(site: Site, nth: number): Killed {
  let changes = 0;
  let isDead = false;
  const around = async (operation: string, call: () => Promise<unknown>): Promise<unknown> => {
    if (isDead) throw new Error('the worker is dead');
    if (!CHANGES.test(operation)) return await call();
    changes += 1;
    isDead = changes === nth;
    if (isDead) throw new Error('killed');
    return await call();
  };
  const watched = <T extends object>(adapter: T, name: string): T =>
    new Proxy(adapter, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        const call = value.bind(target) as (...args: unknown[]) => Promise<unknown>;
        if (property === 'listWritten') return call;
        return (...args: unknown[]) => around(`${name}.${String(property)}`, async () => await call(...args));
      },
    });
  const store = watchedStore(site.store, (operation, _, call) => around(operation, call));
  const compute = watched<RecoveryCompute>(site.compute, 'compute');
  const hypervisor = watched<Hypervisor>(site.hypervisor, 'hypervisor');
  return { all: site.activities(store, compute, hypervisor), isDead: () => isDead };
}
