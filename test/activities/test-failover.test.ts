/** The activities of a test failover on the real engine and recovery compute, each run twice. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { testVmName } from '../../domain/drill.js';
import { vaultPaths } from '../../domain/vault.js';
import { listRecoveryPoints } from '../../replication/recovery-points.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';
import { pattern, MiB } from '../replication/model.js';
import { readDisk } from '../support/replica-disks.js';
import { DISK_BYTES, guestWrites, openSite, run, seed, VM } from './embedded-site.js';

const vm = VM;
const testVm = testVmName(VM);

/** A replicated VM with recovery points of so many cycles. */
async function replicated(cycles: number) {
  const site = await openSite();
  const all = site.activities();
  await seed(site);
  const cycle = async (sequence: number) => {
    await guestWrites(site, 'os', MiB, sequence * 50);
    await run(all.cutAndShip, { vm, epoch: 1, sequence });
    await run(all.applyCycle, { vm, epoch: 1, sequence, retentionHours: 0 });
  };
  for (let sequence = 1; sequence <= cycles; sequence += 1) await cycle(sequence);
  await run(all.finalizeReplica, { vm, epoch: 1, networkAdapters: [] });
  const points = () => listRecoveryPoints(site.store, vm);
  return { site, all, cycle, points };
}
type Replicated = Awaited<ReturnType<typeof replicated>>;

async function twice<I, O>(activity: (input: I) => Promise<O>, input: I): Promise<O> {
  const first = await run(activity, input);
  expect(await run(activity, input)).toEqual(first);
  return first;
}

/** @returns the recovery point. */
async function started({ all }: Replicated, jobId = 'job-1') {
  expect(await twice(all.checkTestFailover, { vm, testVm, wanted: 'latest' })).toEqual({});
  const { recoveryPoint } = await twice(all.beginTestFailover, { vm, testVm, wanted: 'latest', jobId });
  await twice(all.createTestVm, { vm, testVm, jobId });
  for (let times = 0; times < 2; times += 1) await run(all.startTestVm, { testVm });
  return recoveryPoint;
}

async function onTestVm<T>({ site }: Replicated, disk: string, work: (guest: NbdGuest) => Promise<T>): Promise<T> {
  const found = (await site.compute.listTestVms()).find(({ name }) => name === testVm)!;
  const guest = await NbdGuest.connect(found.disks.find(({ name }) => name === disk)!.nbdUri!);
  try {
    return await work(guest);
  } finally {
    await guest.close();
  }
}

const replicaFile = ({ site }: Replicated, disk: string) =>
  readFile(join(site.storeFolder, ...replicaBlobName(vm, disk).split('/')));

test('what is written in a test VM reaches neither the replica nor the recovery point, while cycles go on', async () => {
  const world = await replicated(2);
  const { site, all, cycle, points } = world;
  const { id } = await started(world);
  const point = (await points()).find((each) => each.id === id)!;
  const { snapshot } = point.disks.find(({ name }) => name === 'os')!;
  const atPoint = await readDisk(site.store.disks, { vm, disk: 'os' }, 0, DISK_BYTES, snapshot);
  const before = { os: await replicaFile(world, 'os'), data: await replicaFile(world, 'data') };
  expect(
    await onTestVm(world, 'os', async (guest) => {
      const seen = Buffer.alloc(MiB);
      await guest.read(seen, 0);
      for (let at = 0; at < 4 * MiB; at += MiB) await guest.write(pattern(MiB, 99 + at), at);
      await guest.flush();
      return seen.equals(atPoint.subarray(0, MiB));
    }),
  ).toBe(true);
  for (const disk of ['os', 'data'] as const)
    expect((await replicaFile(world, disk)).equals(before[disk]), disk).toBe(true);

  // With a retention of nothing, each cycle deletes the points before it, but for the one that is held.
  for (const sequence of [3, 4, 5]) await cycle(sequence);
  expect((await points()).map((each) => each.sequence)).toEqual([2, 5]);
  const still = await readDisk(site.store.disks, { vm, disk: 'os' }, 0, DISK_BYTES, snapshot);
  expect(still.equals(atPoint)).toBe(true);
  const inReplica = (await replicaFile(world, 'os')).subarray(0, DISK_BYTES);
  expect(inReplica.equals(await readFile(site.disks[0]!.path))).toBe(true);
  const written = await onTestVm(world, 'os', async (guest) => {
    const bytes = Buffer.alloc(MiB);
    await guest.read(bytes, MiB);
    return bytes;
  });
  expect(written.equals(pattern(MiB, 99 + MiB))).toBe(true);
  // It is no replica VM.
  expect(await site.compute.listVms()).toEqual([]);
  expect(await run(all.checkUnplannedFailover, { vm, wanted: 'latest' })).not.toHaveProperty('runsFrom');
});

test('a clean-up leaves nothing behind, done twice or after there is nothing left', async () => {
  const world = await replicated(2);
  const { site, all, cycle, points } = world;
  await started(world);
  await cycle(3);
  for (let times = 0; times < 2; times += 1) {
    expect(await run(all.findTestVm, { testVm })).toEqual({ isThere: times === 0 });
    await twice(all.endTestFailover, { testVm });
    await twice(all.deleteTestVm, { testVm });
    // The policy is recorded by cycles that carry one; these do not, so the next cycle prunes.
    await twice(all.releaseTestPoint, { vm });
  }
  await cycle(4);
  expect((await points()).map(({ sequence }) => sequence)).toEqual([4]);
  expect(await site.compute.listTestVms()).toEqual([]);
  expect(await readdir(join(site.folder, 'r.state', 'test-vms'))).toEqual([]);
  expect(await site.store.objects.list(vaultPaths.leasePrefix(vm))).toEqual([]);
  for (const disk of ['os', 'data']) expect(await site.store.disks.listSnapshots({ vm, disk })).toHaveLength(1);
});

test('a failed-over VM is not hindered by its test VM, which outlives the commit', async () => {
  const world = await replicated(2);
  const { site, all, cycle } = world;
  const { id } = await started(world);
  await cycle(3);
  await run(all.shutDownVm, { vm });
  const { failoverEpoch } = await run(all.checkUnplannedFailover, { vm, wanted: 'latest' });
  const { recoveryPoint } = await run(all.settleRecoveryPoint, { vm, wanted: 'latest' });
  await run(all.startUnplannedFailover, { vm, failoverEpoch, recoveryPoint: recoveryPoint.id });
  await run(all.startReplicaVm, { vm, epoch: failoverEpoch });
  await run(all.commitFailover, { vm, epoch: failoverEpoch, recoveryPoint: recoveryPoint.id });
  expect((await world.points()).map((point) => point.id)).toEqual([id, recoveryPoint.id]);
  await run(all.startTestVm, { testVm });
  expect((await site.compute.listVms()).map(({ name, state }) => [name, state])).toEqual([[vm, 'Running']]);

  await run(all.endTestFailover, { testVm });
  await run(all.deleteTestVm, { testVm });
  expect(await run(all.releaseTestPoint, { vm })).toEqual({ pointsDeleted: 1 });
  expect((await world.points()).map((point) => point.id)).toEqual([recoveryPoint.id]);
  expect((await site.compute.listVms()).map(({ name, state }) => [name, state])).toEqual([[vm, 'Running']]);
});

test('what a test failover has left behind halfway is replaced by the next one', async () => {
  const world = await replicated(1);
  const { all, cycle, points } = world;
  await run(all.beginTestFailover, { vm, testVm, wanted: 'latest', jobId: 'died' });
  await cycle(2);
  expect((await points()).map(({ sequence }) => sequence)).toEqual([1, 2]);
  const { id } = await started(world);
  expect(id).toBe((await points()).at(-1)!.id);
  await cycle(3);
  expect((await points()).map(({ sequence }) => sequence)).toEqual([2, 3]);
  // The test VM of a job that is gone is replaced, too.
  await run(all.beginTestFailover, { vm, testVm, wanted: 'latest', jobId: 'job-2' });
  expect(await run(all.findTestVm, { testVm })).toEqual({ isThere: false });
});

test('is refused if the point does not exist or the name is taken', async () => {
  const world = await replicated(1);
  const { site, all } = world;
  expect(await run(all.checkTestFailover, { vm, testVm, wanted: '0009-00000001' })).toEqual({
    refusal: expect.stringContaining('0009-00000001'),
  });
  expect(await run(all.checkTestFailover, { vm, testVm: vm, wanted: 'latest' })).toEqual({
    refusal: expect.stringContaining('another VM has this name'),
  });
  await started(world);
  const description = { ...(await run(all.checkProtectable, { vm })), vm: testVm, epoch: 1 };
  await expect(run(all.prepareReplica, { description })).rejects.toMatchObject({
    message: expect.stringContaining(`farshore cleanup-test-failover ${vm} --wait`),
  });
  expect(await site.compute.listTestVms()).toMatchObject([{ name: testVm, state: 'Running' }]);
});

test('a test VM that was left behind goes with the replica', async () => {
  const world = await replicated(1);
  const { site, all } = world;
  await started(world);
  await run(all.endReplication, { vm });
  await run(all.removeReplica, { vm, epoch: 1 });
  expect(await site.compute.listTestVms()).toEqual([]);
  expect(await site.store.objects.list(vaultPaths.vm(vm))).toEqual([]);
});
