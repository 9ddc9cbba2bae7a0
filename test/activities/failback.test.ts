/** A failback with the real adapters of both sites, step by step as its workflow does it, and compared byte by byte. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { failsWith } from '../support/fails-with.js';
import { MiB, pattern } from '../replication/model.js';
import { guestWrites, openSite, run, seed, VM } from './embedded-site.js';

type Site = Awaited<ReturnType<typeof openSite>>;
type Written = [disk: string, data: Buffer, offset: number];

const FAILOVER_EPOCH = 2;
const FAILBACK_EPOCH = 3;
const HOME_EPOCH = 4;

async function write(uri: string, data: Buffer, offset: number): Promise<void> {
  const guest = await NbdGuest.connect(uri);
  await guest.write(data, offset);
  await guest.flush();
  await guest.close();
}

const digest = (content: Buffer): string => createHash('sha256').update(content).digest('hex');

/** Digests of what the guest at either site reads. */
async function contentsOf(vm: { disks: readonly { name: string; nbdUri?: string }[] }): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const { name, nbdUri } of vm.disks) {
    const guest = await NbdGuest.connect(nbdUri!);
    const content = Buffer.alloc(guest.size);
    for (let at = 0; at < guest.size; at += MiB) {
      await guest.read(content.subarray(at, Math.min(at + MiB, guest.size)), at);
    }
    await guest.close();
    found.set(name, digest(content));
  }
  return found;
}

const originalsOf = async ({ disks }: Site) =>
  new Map(await Promise.all(disks.map(async ({ name, path }) => [name, digest(await readFile(path))] as const)));

/** As far as a committed planned failover. @param writes what the source wrote before. */
async function failedOver(site: Site): Promise<void> {
  await seed(site);
  const all = site.activities();
  await guestWrites(site, 'os', 2 * MiB);
  await run(all.cutAndShip, { vm: VM, epoch: 1, sequence: 1 });
  await run(all.applyCycle, { vm: VM, epoch: 1, sequence: 1, retentionHours: 2 });
  await run(all.finalizeReplica, { vm: VM, epoch: 1, networkAdapters: [] });
  await run(all.shutDownVm, { vm: VM });
  await run(all.cutAndShip, { vm: VM, epoch: 1, sequence: 2 });
  await run(all.applyCycle, { vm: VM, epoch: 1, sequence: 2, retentionHours: 2 });
  await run(all.fenceVm, { vm: VM, epoch: FAILOVER_EPOCH });
  const { recoveryPoint } = await run(all.startFailover, { vm: VM, epoch: 1, failoverEpoch: FAILOVER_EPOCH });
  await run(all.startReplicaVm, { vm: VM, epoch: FAILOVER_EPOCH });
  await run(all.commitFailover, { vm: VM, epoch: FAILOVER_EPOCH, recoveryPoint: recoveryPoint.id });
}

async function replicaWrites({ compute }: Site, writes: readonly Written[]): Promise<void> {
  const { disks } = await compute.describeVm(VM);
  for (const [disk, data, offset] of writes)
    await write(disks.find(({ name }) => name === disk)!.nbdUri!, data, offset);
}

/** As far as the change set of the VM snapshot. @returns the bytes that were sent. */
async function synchronize(site: Site): Promise<number> {
  const all = site.activities();
  const { epoch, disks } = await run(all.checkFailback, { vm: VM });
  expect(epoch).toBe(FAILBACK_EPOCH);
  await run(all.checkFailbackTarget, { vm: VM });
  const { sealedAt } = await run(all.beginFailback, { vm: VM, epoch });
  const layers = await run(all.createFailbackLayers, { vm: VM, epoch });
  const { equalsPoint } = await run(all.compareOriginal, { vm: VM, ...layers });
  if (!equalsPoint) {
    for (const { name: disk } of disks) {
      for (let [fromOffset, done] = [0, false]; !done;) {
        ({ nextOffset: fromOffset, done } = await run(all.digestOriginal, { vm: VM, epoch, disk, fromOffset }));
      }
    }
  }
  const sent = await run(all.sendSnapshot, { vm: VM, epoch, sealedAt, disks, isOriginalEqual: equalsPoint });
  await run(all.receiveChanges, { vm: VM, epoch, sequence: 0 });
  while ((await run(all.mergeReplicaSnapshot, { vm: VM })).bytesLeft > 0);
  return sent.bytes;
}

async function sendCycle(site: Site, sequence: number) {
  const all = site.activities();
  const sent = await run(all.sendReplicaCycle, { vm: VM, epoch: FAILBACK_EPOCH, sequence });
  await run(all.receiveChanges, { vm: VM, epoch: FAILBACK_EPOCH, sequence });
  return sent;
}

const block = (seedOf: number) => pattern(64 * 1024, seedOf);

test('everything written at the recovery site is on the disks of the primary site, and only that is sent', async () => {
  const site = await openSite();
  await failedOver(site);
  const before = await originalsOf(site);
  await replicaWrites(site, [
    ['os', block(21), 3 * MiB],
    ['data', block(22), 512],
  ]);
  const sent = await synchronize(site);
  // One block on one disk, two on the other, as the second write is not aligned.
  expect(sent).toBe(3 * 64 * 1024);
  await replicaWrites(site, [
    ['os', block(23), 5 * MiB],
    ['data', Buffer.alloc(MiB), 0],
  ]);
  await sendCycle(site, 1);
  await replicaWrites(site, [['os', block(24), 3 * MiB + 512]]);
  const replica = await contentsOf(await site.compute.describeVm(VM));
  const all = site.activities();
  await run(all.shutDownReplicaVm, { vm: VM });
  const last = await sendCycle(site, 2);
  expect(last).toMatchObject({ final: true, issued: last.lastWrites });
  expect(await originalsOf(site), 'no original has changed').toEqual(before);

  await run(all.handOver, { vm: VM, epoch: HOME_EPOCH });
  await run(all.startVm, { vm: VM, epoch: HOME_EPOCH });
  await failsWith('StaleEpoch', site.compute.startVm(VM, FAILBACK_EPOCH));
  expect(await contentsOf(await site.hypervisor.describeVm(VM))).toEqual(replica);
  expect(await originalsOf(site), 'until the commit').toEqual(before);

  await run(all.checkCommitFailback, { vm: VM });
  await run(all.commitFailback, { vm: VM, epoch: HOME_EPOCH });
  while ((await run(all.mergeSnapshot, { vm: VM })).bytesLeft > 0);
  await run(all.removeFailedBackReplicaVm, { vm: VM, epoch: HOME_EPOCH });
  expect(await originalsOf(site), 'a plain read of the files').toEqual(replica);
  expect((await site.hypervisor.describeVm(VM)).failback).toBeUndefined();
  expect(await site.compute.listVms()).toEqual([]);
  expect((await site.store.objects.list(`vms/${VM}/cycles/`)).filter((name) => name.includes('/0003-'))).toEqual([]);
});

test('originals that may have changed are compared by digests, and only the differing blocks are sent', async () => {
  const site = await openSite();
  await failedOver(site);
  // Nothing is known about its changes any more.
  await run(site.activities().endReplication, { vm: VM });
  await replicaWrites(site, [['os', block(21), 3 * MiB]]);
  const replica = await contentsOf(await site.compute.describeVm(VM));
  expect(await synchronize(site)).toBe(64 * 1024);
  const all = site.activities();
  await run(all.shutDownReplicaVm, { vm: VM });
  await sendCycle(site, 1);
  await run(all.handOver, { vm: VM, epoch: HOME_EPOCH });
  await run(all.startVm, { vm: VM, epoch: HOME_EPOCH });
  expect(await contentsOf(await site.hypervisor.describeVm(VM))).toEqual(replica);
});

test('a host that was rebuilt with empty disks gets everything, and no zeroes are sent', async () => {
  const site = await openSite();
  await failedOver(site);
  await site.rebuildHost(FAILOVER_EPOCH);
  await replicaWrites(site, [['os', block(21), 3 * MiB]]);
  const replica = await contentsOf(await site.compute.describeVm(VM));
  // Two MiB and a block on one disk, one MiB on the other, which begins within a block.
  expect(await synchronize(site)).toBe(2 * MiB + 64 * 1024 + MiB + 64 * 1024);
  const all = site.activities();
  await run(all.shutDownReplicaVm, { vm: VM });
  await sendCycle(site, 1);
  await run(all.handOver, { vm: VM, epoch: HOME_EPOCH });
  await run(all.startVm, { vm: VM, epoch: HOME_EPOCH });
  expect(await contentsOf(await site.hypervisor.describeVm(VM))).toEqual(replica);
});

test('a failback that is given up leaves the originals as they were, and the replica VM as it was', async () => {
  const site = await openSite();
  await failedOver(site);
  const before = await originalsOf(site);
  await replicaWrites(site, [['os', block(21), 3 * MiB]]);
  await synchronize(site);
  const replica = await contentsOf(await site.compute.describeVm(VM));
  const all = site.activities();
  await run(all.shutDownReplicaVm, { vm: VM });
  await sendCycle(site, 1);
  for (let times = 0; times < 2; times += 1) {
    await run(all.restartReplicaVm, { vm: VM });
    await run(all.discardFailback, { vm: VM });
    await run(all.endFailback, { vm: VM });
  }
  expect(await contentsOf(await site.compute.describeVm(VM))).toEqual(replica);
  const { failback, state } = await site.hypervisor.describeVm(VM);
  expect({ failback, state }).toEqual({ failback: undefined, state: 'Off' });
  await run(all.startVm, { vm: VM, epoch: HOME_EPOCH });
  expect(await contentsOf(await site.hypervisor.describeVm(VM))).toEqual(before);
});

test('a failback that is cancelled before its commit runs the replica VM again, and the originals are untouched', async () => {
  const site = await openSite();
  await failedOver(site);
  const before = await originalsOf(site);
  await replicaWrites(site, [['os', block(21), 3 * MiB]]);
  await synchronize(site);
  const all = site.activities();
  const replica = await contentsOf(await site.compute.describeVm(VM));
  await run(all.shutDownReplicaVm, { vm: VM });
  await sendCycle(site, 1);
  await run(all.handOver, { vm: VM, epoch: HOME_EPOCH });
  await run(all.startVm, { vm: VM, epoch: HOME_EPOCH });
  await guestWrites(site, 'data', MiB, 77);
  await run(all.shutDownVm, { vm: VM });
  const { epoch } = await run(all.checkFailbackCancellation, { vm: VM });
  await run(all.fenceVm, { vm: VM, epoch });
  for (let times = 0; times < 2; times += 1) {
    await run(all.returnToRecovery, { vm: VM, epoch });
    await run(all.discardFailback, { vm: VM });
    await run(all.restartReplicaVm, { vm: VM });
    await run(all.endFailback, { vm: VM });
  }
  await failsWith('StaleEpoch', site.hypervisor.startVm(VM, HOME_EPOCH));
  expect(await originalsOf(site)).toEqual(before);
  expect(await contentsOf(await site.compute.describeVm(VM))).toEqual(replica);
});

test('the layers take change sets in order, and a second receiver shuts the first one out', async () => {
  const site = await openSite();
  await failedOver(site);
  await site.hypervisor.beginFailback(VM, FAILBACK_EPOCH);
  const fence = (sequence: number) => ({ epoch: FAILBACK_EPOCH, sequence });
  await failsWith('OutOfSequence', site.hypervisor.openFailback(VM, fence(1)));
  const first = await site.hypervisor.openFailback(VM, fence(0));
  await first!.disk('os').write(block(1), 0);
  const second = await site.hypervisor.openFailback(VM, fence(0));
  await failsWith('HypervisorUnreachable', first!.disk('os').write(block(2), 0));
  const found = Buffer.alloc(64 * 1024);
  await second!.disk('os').read(found, 0);
  expect(found.equals(block(1))).toBe(true);
  await second!.complete();
  expect(await site.hypervisor.openFailback(VM, fence(0)), 'they hold it').toBeUndefined();
  await failsWith('InvalidVmState', site.hypervisor.beginReplication(VM, FAILBACK_EPOCH));
  await failsWith('InvalidVmState', site.hypervisor.mergeSnapshot(VM));
});
