/** A store that is nearly full: what is expired makes room for whatever is written, on whichever side. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, type TestContext } from 'vitest';
import { policySchema } from '../../domain/policy.js';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { listRecoveryPoints } from '../../replication/recovery-points.js';
import { keepPolicy } from '../../replication/replica-state.js';
import { intercept } from '../replication/intercepted-store.js';
import { MiB } from '../replication/model.js';
import { flipByte } from '../replication/replica-fixture.js';
import { leave, resize, smallFileSystem } from '../support/small-file-system.js';
import { DISK_BYTES, guestWrites, openSite, run, seed, VM } from './embedded-site.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

/** Bytes of the disk `os` that every cycle, and every difference, consists of: logs of more than half a disk are given up. */
const WRITTEN = 3 * MiB;
const STORE_MIB = 160;
const vm = VM;
const epoch = 1;

/** With three recovery points that the policy keeps. */
async function openFullSite(context: TestContext) {
  const site = await openSite(undefined, [], (folder) => smallFileSystem(folder, STORE_MIB, context));
  await seed(site);
  for (const sequence of [1, 2, 3]) {
    await ship(site, sequence);
    await run(site.activities().applyCycle, { vm, epoch, sequence, retentionHours: 24 });
  }
  expect(await pointIds(site)).toEqual([1, 2, 3].map((sequence) => recoveryPointId(epoch, sequence)));
  return site;
}

type Site = Awaited<ReturnType<typeof openFullSite>>;

async function ship(site: Site, sequence: number): Promise<void> {
  await guestWrites(site, 'os', WRITTEN, sequence * 100);
  await run(site.activities().cutAndShip, { vm, epoch, sequence, final: false });
}

const pointIds = async ({ store }: Site) => (await listRecoveryPoints(store, vm)).map(({ id }) => id);
const gold = (recoveryPointRetentionHours: number) => policySchema.parse({ name: 'gold', recoveryPointRetentionHours });
const noneExpires = { hours: 24, at: new Date().toISOString() };
const allExpire = () => ({ hours: 0, at: new Date().toISOString() });

async function expectEqual({ disks, storeFolder }: Site): Promise<void> {
  for (const { name, path } of disks) {
    const replica = await readFile(join(storeFolder, ...replicaBlobName(vm, name).split('/')));
    expect(replica.subarray(0, DISK_BYTES).equals(await readFile(path)), name).toBe(true);
  }
}

test('expired points are deleted before the first byte of a cycle is written, which then fits', async (context) => {
  const site = await openFullSite(context);
  await ship(site, 4);
  await leave(site.storeFolder, MiB);
  const before: string[][] = [];
  const noting = intercept(site.store, 'disk.write', { before: async () => before.push(await pointIds(site)) });
  const { applyCycle } = site.activities(noting);
  await run(applyCycle, { vm, epoch, sequence: 4, retentionHours: 0 });
  const newest = [recoveryPointId(epoch, 3)];
  expect(before.length).toBeGreaterThan(0);
  expect(before).toEqual(before.map(() => newest));
  expect(await pointIds(site)).toEqual([recoveryPointId(epoch, 4)]);
  await expectEqual(site);
});

test('a cycle that arrives damaged deletes no point', async (context) => {
  const site = await openFullSite(context);
  await ship(site, 4);
  const [changes] = (await site.store.objects.list(vaultPaths.cyclePrefix(vm))).filter((name) =>
    /0004\/os\b.*changes/.test(name),
  );
  await flipByte(join(site.storeFolder, ...changes!.split('/')), 100_000);
  const points = await pointIds(site);
  const applying = run(site.activities().applyCycle, { vm, epoch, sequence: 4, retentionHours: 0 });
  await expect(applying).rejects.toMatchObject({ type: 'LogBroken' });
  expect(await pointIds(site)).toEqual(points);
});

test("a cycle is sent under the current policy, and expiry does not depend on the source's clock", async (context) => {
  const site = await openFullSite(context);
  await keepPolicy(site.store, vm, gold(0), { epoch, sequence: 3 });
  const points = await pointIds(site);
  // So that the two cycles that are kept anyway are all there is to find.
  await leave(site.storeFolder, 0);
  await guestWrites(site, 'os', WRITTEN, 400);
  const { cutAndShip } = site.activities();
  const cut = { vm, epoch, sequence: 4, final: false };
  const early = { hours: 0, at: new Date(Date.now() - 3_600_000).toISOString() };
  // The last as it is asked for by a workflow that tells no time.
  for (const told of [{ retention: noneExpires }, { retention: early }, {}]) {
    await expect(run(cutAndShip, { ...cut, ...told })).rejects.toMatchObject({ type: 'StoreFull' });
    expect(await pointIds(site)).toEqual(points);
  }
  await run(cutAndShip, { ...cut, retention: allExpire() });
  expect(await pointIds(site)).toEqual([recoveryPointId(epoch, 3)]);
});

test('a resynchronization that does not fit deletes expired points and continues', async (context) => {
  const site = await openFullSite(context);
  const all = site.activities();
  await guestWrites(site, 'os', WRITTEN, 4_000);
  const { disks } = await run(all.checkSource, { vm });
  const resync = { vm, epoch: 2 };
  await run(all.beginResync, { ...resync, disks });
  await run(all.beginReplication, { ...resync, disks });
  for (const { name } of disks) await run(all.digestReplica, { ...resync, disk: name });
  await leave(site.storeFolder, MiB);
  const points = await pointIds(site);
  const copy = { ...resync, disk: 'os', fromOffset: 0 };
  await expect(run(all.copyDisk, { ...copy, retention: noneExpires })).rejects.toMatchObject({ type: 'StoreFull' });
  expect(await pointIds(site)).toEqual(points);
  expect(await run(all.copyDisk, { ...copy, retention: allExpire() })).toMatchObject({ done: true });
  expect(await pointIds(site)).toEqual([recoveryPointId(epoch, 3)]);
  await run(all.copyDisk, { ...copy, disk: 'data' });
  for (const { name } of disks) await run(all.verifySeed, { ...resync, disk: name });
  while ((await run(all.mergeSnapshot, { vm })).bytesLeft > 0);
  await expectEqual(site);
});

test('a resynchronization begins on a full store without deleting recovery points', async (context) => {
  const site = await openFullSite(context);
  const all = site.activities();
  const { disks } = await run(all.checkSource, { vm });
  const points = await pointIds(site);
  await leave(site.storeFolder, 0);
  await run(all.beginResync, { vm, epoch: 2, disks });
  expect(await pointIds(site)).toEqual(points);
  expect(await site.store.objects.readFence(vaultPaths.vm(vm))).toEqual({ epoch: 2, sequence: 0 });
  await expectEqual(site);
});

const resync = { vm, epoch: 2 };

/** A resynchronization, as far as its digests. */
async function beginResync(site: Site): Promise<void> {
  const all = site.activities();
  const { disks } = await run(all.checkSource, { vm });
  await run(all.beginResync, { ...resync, disks });
  await run(all.beginReplication, { ...resync, disks });
}

/** Takes what the store keeps back for records, too. */
async function exhaust({ store, storeFolder }: Site): Promise<void> {
  await leave(storeFolder, 0);
  const elsewhere = { scope: 'vms/other', epoch: 1, sequence: 0 };
  const fill = async () => {
    for (let n = 1; ; n += 1) await store.objects.put(`vms/other/${n}`, Buffer.alloc(32 * 1024, n), elsewhere);
  };
  await expect(fill()).rejects.toMatchObject({ code: 'StoreFull' });
}

test.for<[string, prepare: (site: Site) => Promise<void>, work: (site: Site) => Promise<unknown>]>([
  [
    'verification',
    async () => undefined,
    ({ activities }) => run(activities().digestForVerification, { vm, epoch, sequence: 3, disk: 'os' }),
  ],
  ['resynchronization', beginResync, ({ activities }) => run(activities().digestReplica, { ...resync, disk: 'os' })],
  [
    'proof of a copy',
    async (site) => {
      await beginResync(site);
      const all = site.activities();
      await run(all.digestReplica, { ...resync, disk: 'os' });
      await run(all.copyDisk, { ...resync, disk: 'os', fromOffset: 0 });
    },
    ({ activities }) => run(activities().verifySeed, { ...resync, disk: 'os' }),
  ],
])('the records of a %s find room once expired points have gone', async ([, prepare, work], context) => {
  const site = await openFullSite(context);
  await keepPolicy(site.store, vm, gold(0), { epoch, sequence: 3 });
  await prepare(site);
  expect(await pointIds(site)).toHaveLength(3);
  await exhaust(site);
  await work(site);
  expect(await pointIds(site)).toEqual([recoveryPointId(epoch, 3)]);
});

test('a failover for which there is no space names one that needs none, and that one works', async (context) => {
  const site = await openFullSite(context);
  await keepPolicy(site.store, vm, gold(24), { epoch, sequence: 3 });
  await ship(site, 4);
  await leave(site.storeFolder, 0);
  const all = site.activities();
  const { failoverEpoch } = await run(all.checkUnplannedFailover, { vm, wanted: 'latest' });
  await expect(run(all.settleRecoveryPoint, { vm, wanted: 'latest' })).rejects.toMatchObject({
    type: 'StoreFull',
    message: expect.stringContaining('`latest-processed` and recovery points need no space'),
  });
  const settled = await run(all.settleRecoveryPoint, { vm, wanted: 'latest-processed' });
  expect(settled.recoveryPoint.id).toBe(recoveryPointId(epoch, 3));
  await run(all.startUnplannedFailover, { vm, failoverEpoch, recoveryPoint: settled.recoveryPoint.id });
  await run(all.startReplicaVm, { vm, epoch: failoverEpoch });
  expect(await site.compute.listVms()).toMatchObject([{ name: vm, state: 'Running' }]);
  expect(await site.store.objects.readFence(vaultPaths.vm(vm))).toEqual({ epoch: failoverEpoch, sequence: 0 });
});

test('cycles received before a resynchronization are applied after expired points have been deleted', async (context) => {
  const site = await openFullSite(context);
  await ship(site, 4);
  const all = site.activities();
  await leave(site.storeFolder, MiB);
  await expect(run(all.applyReceivedCycles, { vm })).rejects.toMatchObject({ type: 'StoreFull' });
  await resize(site.storeFolder, STORE_MIB);
  await keepPolicy(site.store, vm, gold(0), { epoch, sequence: 4 });
  await leave(site.storeFolder, MiB);
  expect(await run(all.applyReceivedCycles, { vm })).toEqual({ cycles: 1 });
  expect(await pointIds(site)).toEqual([3, 4].map((sequence) => recoveryPointId(epoch, sequence)));
  await expectEqual(site);
});
