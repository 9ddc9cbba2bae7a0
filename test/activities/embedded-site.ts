/** Both sites with their real embedded adapters, in this process, and activities run as a worker would. */
import { mkdir, open, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { onTestFinished } from 'vitest';
import { createTargetActivities } from '../../activities/target.js';
import { createSourceActivities } from '../../activities/source.js';
import { createSourceFabricActivities } from '../../activities/source-fabric.js';
import { createResynchronizationActivities } from '../../activities/resynchronization.js';
import { hardwareOf } from '../../domain/site.js';
import { HypervisorClient, RecoveryComputeClient } from '../../sites/hypervisor/control-client.js';
import { serveHypervisor, serveRecoveryCompute } from '../../sites/hypervisor/control-server.js';
import { hypervisorConfigSchema } from '../../sites/hypervisor/hypervisor-config.js';
import { EmbeddedRecoveryCompute } from '../../sites/hypervisor/recovery-compute.js';
import { VmStateFile } from '../../sites/hypervisor/vm-state-file.js';
import { EmbeddedHypervisor } from '../../sites/hypervisor/hypervisor.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { Hypervisor } from '../../ports/hypervisor.js';
import type { RecoveryCompute } from '../../ports/recovery-compute.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { pattern, MiB } from '../replication/model.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { oneHostSite } from '../support/one-host-site.js';

export const VM = 'db-01';
export const DISK_BYTES = 8 * MiB + 512;

const quiet = { warn: () => undefined };

/** Runs an activity. @returns what came of it; `heartbeats` gets what it tells the server meanwhile. */
export function run<I, O>(activity: (input: I) => Promise<O>, input: I, heartbeats: unknown[] = []): Promise<O> {
  const environment = quietEnvironment();
  environment.on('heartbeat', (details: unknown) => heartbeats.push(details));
  return environment.run(activity, input);
}

/** What went wrong unexpectedly is logged as an error; here it is what the tests want. */
export function quietEnvironment(
  logged: unknown[] = [],
  info: { heartbeatTimeoutMs?: number; currentAttemptScheduledTimestampMs?: number } = {},
): MockActivityEnvironment {
  const logger = {
    log: () => undefined,
    trace: () => undefined,
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (message: string, meta?: object) => logged.push({ message, ...meta }),
  };
  return new MockActivityEnvironment(info, { logger });
}

const macAddressOf = (vm: number): string => `00:15:5D:00:00:0${vm}`;

async function makeDisk(path: string, number: number): Promise<void> {
  const file = await open(path, 'w');
  await file.truncate(DISK_BYTES);
  await file.write(pattern(MiB, number + 1), 0, MiB, number * 512);
  await file.close();
}

/**
 * @param others VMs besides the usual one, each with a single disk, `os`, in a file of the VM's name.
 * @param makeStore makes the folder of the store, where it is to be a special one.
 */
export async function openSite(
  sourceFolder?: string,
  others: readonly string[] = [],
  makeStore: (folder: string) => Promise<unknown> = async () => undefined,
) {
  const folder = await temporaryFolder();
  const source = sourceFolder ?? folder;
  const disks = ['os', 'data'].map((name) => ({ name, path: join(source, `${name}.img`) }));
  const vms = [
    { name: VM, disks },
    ...others.map((name) => ({ name, disks: [{ name: 'os', path: join(source, `${name}.img`) }] })),
  ];
  for (const [number, { path }] of vms.flatMap((vm) => vm.disks).entries()) await makeDisk(path, number);
  const config = (name: string, more: object) =>
    hypervisorConfigSchema.parse({
      stateFolder: join(folder, `${name}.state`),
      controlSocket: join(folder, `${name}.sock`),
      nbdSocketFolder: join(folder, `${name}.nbd`),
      freeSpaceFloorBytes: 0,
      ...more,
    });
  const storeFolder = join(folder, 'store');
  const site = oneHostSite(
    storeFolder,
    vms.map((vm) => ({
      ...{ ...vm, host: 'h1', hardware: { processors: 4 } },
      networkAdapters: [{ name: 'nic', vmNetwork: 'lan', macAddress: macAddressOf(vms.indexOf(vm)) }],
    })),
  );
  const host = config('h', { vms: vms.map((vm, index) => ({ ...vm, hardware: hardwareOf(site.vms[index]!) })) });
  let hypervisor = await EmbeddedHypervisor.open(host, quiet);
  let control = await serveHypervisor(host.controlSocket, hypervisor, quiet);
  /** The host with all it had is gone; another has empty disks in the same places, and is told that its VM runs elsewhere. */
  const rebuildHost = async (fencedEpoch: number) => {
    await control.close();
    await hypervisor.close();
    await rm(host.stateFolder, { recursive: true });
    for (const { path } of disks) {
      await rm(path);
      await (await open(path, 'w')).close();
      await truncate(path, DISK_BYTES);
    }
    await mkdir(host.stateFolder);
    const state = await VmStateFile.open(VM, join(host.stateFolder, `${VM}.json`));
    await state.change((now) => ({ ...now, power: 'Off', fencedEpoch }));
    hypervisor = await EmbeddedHypervisor.open(host, quiet);
    control = await serveHypervisor(host.controlSocket, hypervisor, quiet);
  };
  await makeStore(storeFolder);
  const store = await EmbeddedReplicaStore.open(storeFolder, { create: true });
  const recovery = config('r', { recovery: { store: { kind: 'embedded', path: storeFolder } } });
  const embedded = await EmbeddedRecoveryCompute.open(recovery, store, quiet);
  const recoveryControl = await serveRecoveryCompute(recovery.controlSocket, embedded, quiet);
  onTestFinished(async () => {
    await recoveryControl.close();
    await embedded.close();
    await control.close();
    await hypervisor.close();
    await store.close();
  });
  const client = new HypervisorClient(host.controlSocket);
  const compute = new RecoveryComputeClient(recovery.controlSocket, store.disks);
  const activities = (over: ReplicaStore = store, on: RecoveryCompute = compute, by: Hypervisor = client) => ({
    ...createSourceActivities({ source: by, store: over, copySliceMs: 0 }),
    ...createTargetActivities({ store: over, compute: on, networks: site.azureNetworks }),
    ...createResynchronizationActivities({ store: over }),
    ...createSourceFabricActivities({ site, vmmServer: 'vmm-1', hypervisorOf: () => by }),
  });
  return { folder, storeFolder, store, hypervisor: client, compute, activities, disks, rebuildHost };
}

type OpenedSite = Awaited<ReturnType<typeof openSite>>;

/** As far as tracked, with a prepared replica. */
export async function begin({ activities }: OpenedSite, vm = VM): Promise<void> {
  const all = activities();
  const description = { ...(await run(all.checkProtectable, { vm })), epoch: 1 };
  await run(all.prepareReplica, { description });
  await run(all.beginReplication, { vm, epoch: 1 });
}

/** As far as an initial copy that has been verified, with the snapshot merged. */
export async function seed(site: OpenedSite): Promise<void> {
  await begin(site);
  const all = site.activities();
  for (const disk of ['os', 'data']) {
    for (let fromOffset = 0; fromOffset < DISK_BYTES;) {
      ({ nextOffset: fromOffset } = await run(all.copyDisk, { vm: VM, epoch: 1, disk, fromOffset }));
    }
    await run(all.verifySeed, { vm: VM, epoch: 1, disk });
  }
  while ((await run(all.mergeSnapshot, { vm: VM })).bytesLeft > 0);
}

export async function guestWrites({ hypervisor }: OpenedSite, disk: string, bytes: number, seedOf = 9): Promise<void> {
  const { disks } = await hypervisor.describeVm(VM);
  const guest = await NbdGuest.connect(disks.find(({ name }) => name === disk)!.nbdUri!);
  for (let at = 0; at < bytes; at += MiB) {
    await guest.write(pattern(Math.min(MiB, bytes - at), seedOf + at), at);
  }
  await guest.flush();
  await guest.close();
}
