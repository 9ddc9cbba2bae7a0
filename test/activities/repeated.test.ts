/** Every activity may run again, after it ended or in the middle: the engine below is real, so are both sites. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CancelledFailure } from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import type { DiskSize } from '../../activities/shipped-cycle.js';
import { newJob } from '../../domain/jobs/job-record.js';
import type { PointChange } from '../../domain/point-change.js';
import { recoveryPointId } from '../../domain/vault.js';
import type { WrittenState } from '../../ports/change-source.js';
import { listRecoveryPoints } from '../../replication/recovery-points.js';
import type { StoreOperation } from '../support/watched-store.js';
import { MiB } from '../replication/model.js';
import { intercept } from '../replication/intercepted-store.js';
import { begin, DISK_BYTES, guestWrites, openSite, quietEnvironment, run, seed, VM } from './embedded-site.js';
import { failedOver, sides } from './failed-over-site.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

/** @param comparable what has to be the same of both answers. */
async function twice<I, O>(
  activity: (input: I) => Promise<O>,
  input: I,
  comparable: (answer: O) => unknown = (answer) => answer,
): Promise<O> {
  const first = await run(activity, input);
  expect(comparable(await run(activity, input))).toEqual(comparable(first));
  return first;
}

type Site = Awaited<ReturnType<typeof openSite>>;

async function expectEqual({ disks, storeFolder }: Site): Promise<void> {
  for (const { name, path } of disks) {
    const replica = await readFile(join(storeFolder, ...replicaBlobName(VM, name).split('/')));
    expect(replica.subarray(0, DISK_BYTES).equals(await readFile(path)), name).toBe(true);
  }
}

test('run twice, every activity of a VM from enabling to commit gives the same result', async () => {
  const site = await openSite();
  const all = site.activities();
  const vm = VM;
  const description = await twice(all.checkProtectable, { vm });
  expect(await twice(all.checkSource, { vm })).toEqual({
    disks: ['os', 'data'].map((name) => ({ name, size: DISK_BYTES })),
    trackedEpoch: 0,
  });
  const hardware = {
    ...{ processors: 4, memoryBytes: 4096 * MiB, firmware: 'UEFI', secureBoot: true },
    disks: ['os', 'data'].map((name) => ({ name, bus: 'SCSI' })),
    networkAdapters: [{ name: 'nic', macAddress: '00:15:5D:00:00:00', addresses: [] }],
  };
  expect(description).toMatchObject({ hardware });
  const { networkAdapters } = description;
  const { epoch } = await twice(all.identifyTarget, { vm, networkAdapters, trackedEpoch: 0 });
  await twice(all.prepareReplica, { description: { ...description, epoch } });
  await twice(all.beginReplication, { vm, epoch });
  await twice(all.updateProviderState, { vm, epoch });
  // What is written from here on is in the logs and in the overlay, not in the copy.
  await guestWrites(site, 'os', 2 * MiB);
  for (const disk of ['os', 'data']) {
    const copied = await twice(all.copyDisk, { vm, epoch, disk, fromOffset: 0 }, ({ nextOffset, done }) => [
      nextOffset,
      done,
    ]);
    expect(copied).toMatchObject({ nextOffset: 9 * MiB, done: true });
    expect(copied.sentBytes).toBeGreaterThanOrEqual(MiB);
    expect(await run(all.copyDisk, { vm, epoch, disk, fromOffset: 0 })).toMatchObject({ sentBytes: 0, done: true });
    await twice(all.verifySeed, { vm, epoch, disk });
  }
  while ((await run(all.mergeSnapshot, { vm })).bytesLeft > 0);
  expect(await twice(all.mergeSnapshot, { vm })).toEqual({ bytesLeft: 0 });
  const shipped = await twice(all.cutAndShip, { vm, epoch, sequence: 1 });
  expect(shipped).toMatchObject({ sequence: 1, final: false });
  expect(shipped.bytes).toBeGreaterThan(0);
  const applied = await twice(all.applyCycle, { vm, epoch, sequence: 1, retentionHours: 2 });
  expect(applied).toMatchObject({ lastWrites: shipped.lastWrites, recoveryPoint: { id: recoveryPointId(epoch, 1) } });
  await expectEqual(site);
  await twice(all.finalizeReplica, { vm, epoch, networkAdapters: await twice(all.resolveNetworks, { vm }) });
  await twice(all.checkFailoverSource, { vm, epoch });
  await twice(all.checkFailoverTarget, { vm, epoch });

  await guestWrites(site, 'data', MiB, 77);
  await twice(all.shutDownVm, { vm });
  const last = await twice(all.cutAndShip, { vm, epoch, sequence: 2 });
  expect(last.final).toBe(true);
  await twice(all.applyCycle, { vm, epoch, sequence: 2, retentionHours: 2 });
  await expectEqual(site);
  const failoverEpoch = epoch + 1;
  await twice(all.fenceVm, { vm, epoch: failoverEpoch });
  const { recoveryPoint } = await twice(all.startFailover, { vm, epoch, failoverEpoch });
  expect(recoveryPoint).toEqual({ id: recoveryPointId(epoch, 2), time: last.sealedAt });
  await expect(run(all.checkCommit, { vm })).rejects.toMatchObject({ type: 'InvalidVmState' });
  const started = await twice(all.startReplicaVm, { vm, epoch: failoverEpoch }, ({ disks }) => disks);
  expect(started.disks.map(({ name, nbdUri }) => [name, typeof nbdUri])).toEqual([
    ['os', 'string'],
    ['data', 'string'],
  ]);
  // The replica VM has what the source told of itself.
  expect(await site.compute.listVms()).toMatchObject([{ name: vm, hardware, fencing: 'enforced' }]);
  await twice(all.checkCommit, { vm });
  await twice(all.commitFailover, { vm, epoch: failoverEpoch, recoveryPoint: recoveryPoint.id }, () => 0);
  expect((await listRecoveryPoints(site.store, vm)).map(({ id }) => id)).toEqual([recoveryPoint.id]);
  await twice(all.recordJob, { job: newJob('commitFailover', 'job/db-01/commit', 'vault-1', vm, last.sealedAt) });
  // Fenced, the source stays off.
  await expect(run(all.startVm, { vm, epoch })).rejects.toMatchObject({ type: 'StaleEpoch' });
});

test('run twice, every activity between a failover and its commit gives the same result', async (context) => {
  const { site, all, points } = await failedOver(context);
  const vm = VM;
  const checked = await twice(all.checkPointChange, { vm, wanted: points[0]! });
  const { epoch, to } = (checked as { change: PointChange }).change;
  await twice(all.stopReplicaVm, { vm, madeBefore: epoch });
  await twice(all.restartReplicaVm, { vm }, () => 0);
  await twice(all.deleteReplicaVm, { vm, madeBefore: epoch });
  await twice(all.createReplicaVmAt, { vm, epoch, recoveryPoint: to.id });
  await twice(all.startReplicaVm, { vm, epoch }, ({ disks }) => disks);
  expect(await twice(all.checkReturn, { vm })).toEqual({ host: 'h1', isRunning: false });
  const { epoch: last, held } = await twice(all.checkFailoverCancellation, { vm });
  await run(all.stopReplicaVm, { vm, madeBefore: last });
  expect(await twice(all.endFailover, { vm, epoch: last })).toMatchObject({ recoveryPoint: { id: points[2] } });
  const unchangedSince = held as WrittenState;
  const begun = await twice(all.continueReplication, { vm, epoch: last, unchangedSince });
  await twice(all.continueReplica, { vm, epoch: last, ...(begun as { disks: DiskSize[] }) });
  await twice(all.startVm, { vm, epoch: last });
  await twice(all.deleteReplicaVm, { vm, madeBefore: last });
  expect(await sides(site)).toEqual({ primary: true, recovery: false });
});

test('run twice, ending replication leaves a VM that runs and is not tracked', async () => {
  const site = await openSite();
  await begin(site);
  const all = site.activities();
  await twice(all.endReplication, { vm: VM });
  await twice(all.startVm, { vm: VM, epoch: 1 });
  const found = await site.hypervisor.describeVm(VM);
  expect(found.state).toBe('Running');
  expect([found.tracking, found.snapshot]).toEqual([undefined, undefined]);
});

describe('cancelled halfway, an activity ends as cancelled, and can be run again without a trace', () => {
  type Activities = ReturnType<Site['activities']>;
  const fence = { epoch: 1, sequence: 1 };
  const cases: [
    name: string,
    before: (site: Site) => Promise<void>,
    operation: StoreOperation,
    activity: (all: Activities) => () => Promise<unknown>,
  ][] = [
    ['copyDisk', begin, 'disk.write', (all) => () => all.copyDisk({ vm: VM, epoch: 1, disk: 'os', fromOffset: 0 })],
    [
      'verifySeed',
      async (site) => {
        await begin(site);
        await run(site.activities().copyDisk, { vm: VM, epoch: 1, disk: 'os', fromOffset: 0 });
      },
      'disks.mend',
      (all) => () => all.verifySeed({ vm: VM, epoch: 1, disk: 'os' }),
    ],
    [
      'cutAndShip',
      async (site) => {
        await seed(site);
        await guestWrites(site, 'os', 3 * MiB);
      },
      'objects.putIfAbsent',
      (all) => () => all.cutAndShip({ vm: VM, ...fence }),
    ],
    [
      'applyCycle',
      async (site) => {
        await seed(site);
        await guestWrites(site, 'os', 3 * MiB);
        await run(site.activities().cutAndShip, { vm: VM, ...fence });
      },
      'disk.write',
      (all) => () => all.applyCycle({ vm: VM, ...fence, retentionHours: 2 }),
    ],
  ];

  test.each(cases)('%s', async (name, before, operation, activity) => {
    const site = await openSite();
    await before(site);
    const logged: unknown[] = [];
    const environment = quietEnvironment(logged);
    let calls = 0;
    // The request under way is cut off, as a connection is.
    const cancelling = intercept(site.store, operation, {
      before: async () => {
        calls += 1;
        environment.cancel();
        throw new Error('the request was cut off');
      },
    });
    await expect(environment.run(activity(site.activities(cancelling)))).rejects.toBeInstanceOf(CancelledFailure);
    expect(calls).toBe(1);
    expect(logged).toEqual([]);

    // Goes on, by other processes, from what that left.
    const all = site.activities();
    await run(activity(all), undefined);
    if (name === 'copyDisk') await run(all.verifySeed, { vm: VM, epoch: 1, disk: 'os' });
    if (name === 'cutAndShip') await run(all.applyCycle, { vm: VM, ...fence, retentionHours: 2 });
    if (name === 'cutAndShip' || name === 'applyCycle') await expectEqual(site);
  });

  test('a long copy stops at its next step once it is cancelled', async () => {
    const site = await openSite();
    await begin(site);
    const environment = quietEnvironment();
    const cancelling = intercept(site.store, 'disk.write', { after: async () => environment.cancel() });
    const copy = () => site.activities(cancelling).copyDisk({ vm: VM, epoch: 1, disk: 'os', fromOffset: 0 });
    await expect(environment.run(copy)).rejects.toBeInstanceOf(CancelledFailure);
    await run(copy, undefined);
  });
});
