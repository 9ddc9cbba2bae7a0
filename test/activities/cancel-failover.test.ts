/** A failover is cancelled: on the real hypervisor, store and recovery compute. */
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readVaultState } from '../../replication/replica-state.js';
import { vaultPaths } from '../../domain/vault.js';
import { listRecoveryPoints, markSuspect } from '../../replication/recovery-points.js';
import { MiB } from '../replication/model.js';
import { DISK_BYTES, guestWrites, run } from './embedded-site.js';
import {
  DISKS,
  expectReplicaEqual,
  expectSourceAtPoint,
  failedOver,
  killedAt,
  sides,
  vm,
  writeAtRecoverySite,
  type Site,
} from './failed-over-site.js';

type Activities = ReturnType<Site['activities']>;

type Held = Awaited<ReturnType<Activities['checkFailoverCancellation']>>['held'];
interface Checked {
  /** In which the VM goes back. */
  readonly epoch: number;
  readonly held: Held;
}

async function check(all: Activities): Promise<Checked> {
  await run(all.checkReturn, { vm });
  const { trackedEpoch } = await run(all.checkSource, { vm });
  const { epoch, held } = await run(all.checkFailoverCancellation, { vm });
  return { epoch: Math.max(epoch, trackedEpoch + 1), held };
}

/** @returns why both sites have to be compared, if they have to be. */
async function continueEqual(all: Activities, { epoch, held }: Checked): Promise<string | undefined> {
  if ('problem' in held) return held.problem;
  const begun = await run(all.continueReplication, { vm, epoch, unchangedSince: held });
  if ('problem' in begun) return begun.problem;
  await run(all.continueReplica, { vm, epoch, disks: begun.disks });
  while ((await run(all.mergeSnapshot, { vm })).bytesLeft > 0);
  return undefined;
}

/** The steps of the job, after its checks, in order. */
const steps = (all: Activities, checked: Checked, { epoch } = checked): (() => Promise<unknown>)[] => [
  () => run(all.stopReplicaVm, { vm, madeBefore: epoch }),
  () => run(all.endFailover, { vm, epoch }),
  () => run(all.stopReplicaVm, { vm, madeBefore: epoch }),
  () => continueEqual(all, checked),
  () => run(all.startVm, { vm, epoch }),
  () => run(all.deleteReplicaVm, { vm, madeBefore: epoch }),
];

async function cancel(site: Site, all: Activities, checked: Checked): Promise<void> {
  for (const step of steps(all, checked)) {
    await step();
    await sides(site);
  }
}

/** The steps of the job of that name, to its end. */
async function resynchronize(site: Site, all: Activities): Promise<void> {
  const { disks, trackedEpoch } = await run(all.checkSource, { vm });
  await run(all.applyReceivedCycles, { vm });
  const { epoch } = await run(all.identifyTarget, {
    ...{ vm, networkAdapters: await run(all.resolveNetworks, { vm }), trackedEpoch },
  });
  await run(all.beginResync, { vm, epoch, disks });
  await run(all.beginReplication, { vm, epoch, disks });
  await guestWrites(site, 'data', MiB, 99);
  let sent = 0;
  for (const disk of DISKS) {
    await run(all.digestReplica, { vm, epoch, disk });
    for (let fromOffset = 0; fromOffset < DISK_BYTES;) {
      const copied = await run(all.copyDisk, { vm, epoch, disk, fromOffset });
      sent += copied.sentBytes;
      fromOffset = copied.nextOffset;
    }
    await run(all.verifySeed, { vm, epoch, disk });
  }
  // Only the differences.
  expect(sent).toBeLessThan(DISK_BYTES / 2);
  while ((await run(all.mergeSnapshot, { vm })).bytesLeft > 0);
  const cycle = { vm, epoch, sequence: 1 };
  await run(all.cutAndShip, cycle);
  await run(all.applyCycle, { ...cycle, retentionHours: 2 });
}

async function expectEqualAfterResync(site: Site): Promise<void> {
  const all = site.activities();
  await guestWrites(site, 'data', MiB, 42);
  await resynchronize(site, all);
  await run(all.shutDownVm, { vm });
  await expectReplicaEqual(site);
}

test('the source has exactly its own data, and after a resynchronization the replica equals it', async (context) => {
  const { site, all, points } = await failedOver(context);
  await writeAtRecoverySite(site, 'os', 300_032, MiB);
  expect(await sides(site)).toEqual({ primary: false, recovery: true });
  expect(await run(all.checkReturn, { vm })).toEqual({ host: 'h1', isRunning: false });
  expect(await run(all.checkFailoverCancellation, { vm })).toMatchObject({
    epoch: 3,
    recoveryPoint: { id: points[2] },
    replicaVm: {
      power: 'Running',
      written: [
        { name: 'os', bytes: 5 * 65_536 },
        { name: 'data', bytes: 0 },
      ],
    },
  });
  await cancel(site, all, { ...(await check(all)), held: { problem: 'it is to be compared' } });
  expect(await sides(site)).toEqual({ primary: true, recovery: false });
  expect(await site.compute.listVms()).toEqual([]);
  await expectSourceAtPoint(site, points[2]!);
  expect(await readVaultState(site.store, vm)).toBeUndefined();
  expect((await listRecoveryPoints(site.store, vm)).map(({ id }) => id)).toEqual(points);
  await guestWrites(site, 'os', MiB, 5);
  await resynchronize(site, all);
  await run(all.shutDownVm, { vm });
  await expectReplicaEqual(site);
  expect((await listRecoveryPoints(site.store, vm)).map(({ id }) => id).slice(0, 3)).toEqual(points);
});

describe('a worker that is killed', () => {
  test('before any of its changes never lets the VM run at both sites, and the next one brings it home', async (context) => {
    let wasKilled = true;
    for (let nth = 1; wasKilled; nth += 1) {
      const { site, points } = await failedOver(context);
      await writeAtRecoverySite(site, 'os', 4096);
      const checked = await check(site.activities());
      const killed = killedAt(site, nth);
      await cancel(site, killed.all, checked).catch((error: unknown) => {
        if (!killed.isDead()) throw error;
      });
      wasKilled = killed.isDead();
      const { primary } = await sides(site);
      // What the replica VM holds is deleted only once the source runs.
      if (!primary) expect(await site.compute.describeVm(vm)).toMatchObject({ name: vm });
      // The same job, or another one after it.
      await cancel(site, site.activities(), nth % 2 === 0 ? checked : await check(site.activities()));
      expect(await sides(site)).toEqual({ primary: true, recovery: false });
      expect(await site.compute.listVms()).toEqual([]);
      await expectSourceAtPoint(site, points[2]!);
      // Whatever was begun, a comparison can follow.
      if (nth % 3 === 0) await expectEqualAfterResync(site);
      if (nth > 30) throw new Error('it never ends');
    }
  });
});

test('between any two steps, neither a late start of the replica VM nor a `retry` lets it run beside the source', async (context) => {
  const { site, all } = await failedOver(context);
  const remaining = steps(all, await check(all));
  for (const [done, step] of remaining.entries()) {
    await step();
    const late = run(all.startReplicaVm, { vm, epoch: 2 });
    const retried = run(all.restartReplicaVm, { vm });
    if (done === 0) {
      // The failover is not ended yet: this undoes the step.
      await Promise.all([late, retried]);
      expect(await sides(site)).toEqual({ primary: false, recovery: true });
    } else {
      for (const start of [late, retried]) await start.catch(() => undefined);
      await expect(run(all.restartReplicaVm, { vm })).rejects.toMatchObject({ type: 'StaleEpoch' });
      // One that began before the fence rose is stopped by the step after it.
      if (done > 1) expect((await sides(site)).recovery).toBe(false);
    }
  }
  expect(await sides(site)).toEqual({ primary: true, recovery: false });
});

test('a source whose disk is missing is found before anything is changed', async (context) => {
  const { site, all } = await failedOver(context);
  const { path } = site.disks[0]!;
  await rename(path, `${path}.away`);
  await expect(run(all.checkReturn, { vm })).rejects.toMatchObject({ type: 'DiskMissing' });
  await rename(`${path}.away`, path);
  await run(all.checkReturn, { vm });
  expect(await sides(site)).toEqual({ primary: false, recovery: true });
});

describe('without a comparison', () => {
  const cycle = async (all: Activities, epoch: number, sequence: number) => {
    await run(all.cutAndShip, { vm, epoch, sequence });
    return await run(all.applyCycle, { vm, epoch, sequence, retentionHours: 2 });
  };

  test('replication continues if the source still holds what its last cycle holds: nothing is copied', async (context) => {
    const { site, all, points } = await failedOver(context);
    await writeAtRecoverySite(site, 'os', 300_032);
    const checked = await check(all);
    expect(checked.held).toMatchObject({ epoch: 1, lastWrites: { os: expect.any(Number), data: expect.any(Number) } });
    for (const step of steps(all, checked)) {
      await step();
      await step();
      await sides(site);
    }
    expect(await site.hypervisor.describeVm(vm)).toMatchObject({ tracking: { epoch: 3, openSequence: 1 } });
    await guestWrites(site, 'data', MiB, 42);
    const { bytes } = await run(all.cutAndShip, { vm, epoch: 3, sequence: 1 });
    expect(bytes).toBe(MiB);
    await cycle(all, 3, 1);
    await guestWrites(site, 'os', MiB, 43);
    await run(all.shutDownVm, { vm });
    await cycle(all, 3, 2);
    await expectReplicaEqual(site);
    const ids = (await listRecoveryPoints(site.store, vm)).map(({ id }) => id);
    expect(ids.slice(0, 3)).toEqual(points);
    expect(ids).toHaveLength(5);
  });

  const cases: [title: string, (site: Site, all: Activities) => Promise<unknown>, RegExp][] = [
    [
      'that was edited while it was off',
      async ({ disks }) => {
        const file = await open(disks[0]!.path, 'r+');
        await file.write(Buffer.alloc(512, 1), 0, 512, 4096);
        await file.close();
      },
      /changed while it was not open|was changed/,
    ],
    [
      'that was started and has written since',
      async (site, all) => {
        await run(all.startVm, { vm, epoch: 2 });
        await guestWrites(site, 'os', 4096);
        await run(all.shutDownVm, { vm });
      },
      /are not tracked/,
    ],
    [
      'whose replica was found damaged',
      async ({ store }) => await markSuspect(store, { vm, epoch: 2, reason: 'it was found damaged' }),
      /the replica was found damaged: it was found damaged/,
    ],
    [
      'whose last cycle is not known',
      async ({ storeFolder }) => {
        for (const copy of ['', 'second/']) await rm(join(storeFolder, `vms/${vm}/${copy}applied.json`));
      },
      /the replica held no complete cycle/,
    ],
  ];
  test.for(cases)('nothing continues for a source %s', async ([, happens, reason], context) => {
    const { site, all } = await failedOver(context);
    await happens(site, all);
    const checked = await check(all);
    for (const step of steps(all, checked).slice(0, 3)) await step();
    const before = await site.store.objects.readFence(vaultPaths.vm(vm));
    expect(await continueEqual(all, checked)).toMatch(reason);
    // Neither side has begun anything.
    expect(await site.store.objects.readFence(vaultPaths.vm(vm))).toEqual(before);
    expect((await site.hypervisor.describeVm(vm)).tracking?.epoch).not.toBe(checked.epoch);
    await run(all.startVm, { vm, epoch: checked.epoch });
    await expectEqualAfterResync(site);
  });
});
