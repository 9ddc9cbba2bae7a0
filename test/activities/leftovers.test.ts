/** What real sites and a real store hold after each way to end something, and what is planted there. */
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { testVmName } from '../../domain/drill.js';
import { CatalogueError, type FailureCode } from '../../domain/errors.js';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { vaultPaths } from '../../domain/vault.js';
import { findLeftovers, LeftoverRefused, removeLeftover, type ItemOf, type Places } from '../../local/leftovers.js';
import { readDescription, vmFence } from '../../replication/replica-state.js';
import { MiB } from '../replication/model.js';
import { failsWith } from '../support/fails-with.js';
import { watchedStore } from '../support/watched-store.js';
import { guestWrites, openSite, run, seed, VM } from './embedded-site.js';

const vm = VM;
const testVm = testVmName(VM);
const policy = {} as ProtectedItem['policy'];

type Site = Awaited<ReturnType<typeof openSite>>;

const placesOf = ({ store, compute, hypervisor }: Site): Places => ({
  ...{ store, compute, siteVms: [vm] },
  hosts: new Map([['h1', hypervisor]]),
});

const itemOf =
  (change: Partial<ProtectedItem>): ItemOf =>
  async (of) =>
    of === vm
      ? { ...newProtectedItem({ vault: 'v', vm, host: 'h1', vmmServer: 'vmm-1', policy }), ...change }
      : undefined;
const applied = { sequence: 1, sealedAt: '2026-03-01T12:00:00.000Z', bytes: 0 };
const isProtected = (epoch: number) => itemOf({ phase: 'Protected', epoch, applied });
const isCommitted = (epoch: number) => itemOf({ phase: 'Committed', activeSide: 'recovery', epoch, applied });
const isUnprotected: ItemOf = async () => undefined;

const idsOf = async (site: Site, of: ItemOf): Promise<string[]> =>
  (await findLeftovers(placesOf(site), of)).leftovers.map(({ id }) => id);

/** With two recovery points. */
async function replicated(): Promise<Site> {
  const site = await openSite();
  const all = site.activities();
  await seed(site);
  for (const sequence of [1, 2]) {
    await guestWrites(site, 'os', MiB, sequence * 50);
    await run(all.cutAndShip, { vm, epoch: 1, sequence });
    await run(all.applyCycle, { vm, epoch: 1, sequence, retentionHours: 2 });
  }
  await run(all.finalizeReplica, { vm, epoch: 1, networkAdapters: [] });
  return site;
}

async function failedOver(): Promise<Site> {
  const site = await replicated();
  const all = site.activities();
  await run(all.shutDownVm, { vm });
  await run(all.cutAndShip, { vm, epoch: 1, sequence: 3 });
  await run(all.applyCycle, { vm, epoch: 1, sequence: 3, retentionHours: 2 });
  await run(all.fenceVm, { vm, epoch: 2 });
  await run(all.startFailover, { vm, epoch: 1, failoverEpoch: 2 });
  await run(all.startReplicaVm, { vm, epoch: 2 });
  return site;
}

async function committed(): Promise<Site> {
  const site = await failedOver();
  await run(site.activities().commitFailover, { vm, epoch: 2, recoveryPoint: '0001-00000003' });
  return site;
}

/** In epoch 3, as far as a cycle after the VM snapshot. */
async function failingBack(): Promise<Site> {
  const site = await committed();
  const all = site.activities();
  const { epoch, disks } = await run(all.checkFailback, { vm });
  const { sealedAt } = await run(all.beginFailback, { vm, epoch });
  const layers = await run(all.createFailbackLayers, { vm, epoch });
  const { equalsPoint } = await run(all.compareOriginal, { vm, ...layers });
  await run(all.sendSnapshot, { vm, epoch, sealedAt, disks, isOriginalEqual: equalsPoint });
  await run(all.receiveChanges, { vm, epoch, sequence: 0 });
  while ((await run(all.mergeReplicaSnapshot, { vm })).bytesLeft > 0);
  await run(all.sendReplicaCycle, { vm, epoch, sequence: 1 });
  await run(all.receiveChanges, { vm, epoch, sequence: 1 });
  return site;
}

async function testing(site: Site): Promise<void> {
  const all = site.activities();
  await run(all.beginTestFailover, { vm, testVm, wanted: 'latest', jobId: 'job-1' });
  await run(all.createTestVm, { vm, testVm, jobId: 'job-1' });
  await run(all.startTestVm, { testVm });
}

test('nothing is left of a test failover that was cleaned up', async () => {
  const site = await replicated();
  expect(await idsOf(site, isProtected(1))).toEqual([]);
  await testing(site);
  expect(await idsOf(site, itemOf({ phase: 'Protected', epoch: 1, applied, drill: { testVm } }))).toEqual([]);
  const all = site.activities();
  await run(all.deleteTestVm, { testVm });
  await run(all.releaseTestPoint, { vm });
  expect(await idsOf(site, isProtected(1))).toEqual([]);
});

test('nothing is left of a failover that was cancelled', async () => {
  const site = await failedOver();
  const all = site.activities();
  expect(await idsOf(site, itemOf({ phase: 'FailedOver', activeSide: 'recovery', epoch: 2, applied }))).toEqual([]);
  await run(all.stopReplicaVm, { vm, madeBefore: 3 });
  await run(all.endFailover, { vm, epoch: 3 });
  await run(all.startVm, { vm, epoch: 3 });
  await run(all.deleteReplicaVm, { vm, madeBefore: 3 });
  expect(await idsOf(site, isProtected(3))).toEqual([]);
});

test('nothing is left of a committed failback', async () => {
  const site = await failingBack();
  const all = site.activities();
  await run(all.shutDownReplicaVm, { vm });
  await run(all.sendReplicaCycle, { vm, epoch: 3, sequence: 2 });
  await run(all.receiveChanges, { vm, epoch: 3, sequence: 2 });
  await run(all.handOver, { vm, epoch: 4 });
  await run(all.startVm, { vm, epoch: 4 });
  expect(await idsOf(site, itemOf({ phase: 'FailedBack', epoch: 4, applied }))).toEqual([]);
  await run(all.commitFailback, { vm, epoch: 4 });
  while ((await run(all.mergeSnapshot, { vm })).bytesLeft > 0);
  await run(all.removeFailedBackReplicaVm, { vm, epoch: 4 });
  expect(await idsOf(site, isProtected(4))).toEqual([]);
});

test('nothing is left of a failback that was given up', async () => {
  const site = await failingBack();
  const all = site.activities();
  await run(all.discardFailback, { vm });
  await run(all.endFailback, { vm });
  expect(await idsOf(site, isCommitted(3))).toEqual([]);
});

test('nothing is left of a protection that has ended, and a kept replica is not called a leftover', async () => {
  const site = await replicated();
  const all = site.activities();
  await run(all.endReplication, { vm });
  await run(all.keepReplica, { vm, epoch: 1, inUse: false });
  const { leftovers, kept } = await findLeftovers(placesOf(site), isUnprotected);
  expect(leftovers).toEqual([]);
  expect(kept).toMatchObject([{ kind: 'replica', vm, where: 'store' }]);
  await refusedAs('kept on purpose', site, isUnprotected, 'store/db-01/replica');
  await run(all.removeReplica, { vm, epoch: 2 });
  expect(await findLeftovers(placesOf(site), isUnprotected)).toEqual({ leftovers: [], kept: [], unknown: [] });
});

test('nothing of a VM that only Temporal has forgotten is a leftover', async () => {
  for (const site of [await failedOver(), await failingBack()]) {
    await testing(site);
    expect(await idsOf(site, isUnprotected)).toEqual([]);
  }
});

async function refusedAs(why: string, site: Site, of: ItemOf, id: string): Promise<void> {
  const asked = removeLeftover(placesOf(site), of, id);
  await expect(asked).rejects.toThrow(LeftoverRefused);
  await expect(asked).rejects.toThrow(why);
}

/** Plants leftovers. @returns the site, and the state in which its VM does not claim them. */
const planted: Record<string, () => Promise<{ site: Site; of: ItemOf; ids: string[] }>> = {
  'the test VM of a job that died, with its hold': async () => {
    const site = await replicated();
    await testing(site);
    return { site, of: isProtected(1), ids: ['recovery/db-01/test-vm'] };
  },
  'the hold of a test failover': async () => {
    const site = await replicated();
    await testing(site);
    await site.compute.deleteTestVm(testVm);
    return { site, of: isProtected(1), ids: ['store/db-01/test-hold'] };
  },
  'a replica VM whose failover was cancelled': async () => {
    const site = await failedOver();
    await site.store.objects.raiseFence(vmFence(vm, { epoch: 3, sequence: 0 }));
    return { site, of: isProtected(3), ids: ['recovery/db-01/replica-vm'] };
  },
  'the layers and change sets of a failback': async () => {
    const site = await failingBack();
    return { site, of: isCommitted(3), ids: ['h1/db-01/failback-layers', 'store/db-01/change-sets'] };
  },
  'change logs of a VM that is not protected': async () => {
    const site = await replicated();
    await run(site.activities().removeReplica, { vm, epoch: 1 });
    return { site, of: isUnprotected, ids: ['h1/db-01/change-logs'] };
  },
  'a VM snapshot that no job reads': async () => {
    const site = await replicated();
    await site.hypervisor.snapshotAndCut(vm, { epoch: 1, sequence: 3 });
    return { site, of: isProtected(1), ids: ['h1/db-01/vm-snapshot'] };
  },
  'records of a copy and of a verification': async () => {
    const site = await replicated();
    const fence = vmFence(vm, { epoch: 1, sequence: 9 });
    await site.store.objects.put(`${vaultPaths.seedPrefix(vm, 1, 'os')}00000000.digests`, Buffer.from('x'), fence);
    const verification = vaultPaths.verificationPrefix(vm, 1, 2, 'os');
    await site.store.objects.put(`${verification}00000000.digests`, Buffer.from('x'), fence);
    return { site, of: isProtected(1), ids: ['store/db-01/copy-records', 'store/db-01/verification-records'] };
  },
  'the lease of a dead reader': async () => {
    const site = await replicated();
    const lease = Buffer.from('{"until":"2020-01-01T00:00:00.000Z"}');
    const fence = vmFence(vm, { epoch: 1, sequence: 9 });
    await site.store.objects.put(vaultPaths.lease(vm, 'dead'), lease, fence);
    return { site, of: isProtected(1), ids: ['store/db-01/leases'] };
  },
  'a snapshot that no recovery point names': async () => {
    const site = await replicated();
    const fence = { epoch: 1, sequence: 9 };
    const disk = { vm, disk: 'os' };
    const point = vaultPaths.point(vm, '0001-00000001');
    for (const name of [point, vaultPaths.second(point), vaultPaths.pointIndex(vm)])
      await site.store.objects.delete(name, vmFence(vm, fence));
    expect(await site.store.disks.listSnapshots(disk)).toHaveLength(2);
    return { site, of: isProtected(1), ids: ['store/db-01/snapshots'] };
  },
  'the console of a test VM whose job left no record': async () => {
    const site = await replicated();
    const jobs = { scope: 'jobs', epoch: 0, sequence: 0 };
    await site.store.objects.put(vaultPaths.evidence(vm, '20260301T120000Z', 'console.txt'), Buffer.from('x'), jobs);
    await site.store.objects.put(vaultPaths.evidence(vm, '20260302T120000Z', 'console.txt'), Buffer.from('x'), jobs);
    const record = vaultPaths.jobRecord(`job/vault-1/${vm}/test-failover/20260302T120000Z`);
    await site.store.objects.put(record, Buffer.from('{}'), jobs);
    return { site, of: isProtected(1), ids: ['store/db-01/evidence'] };
  },
  'folders at the recovery site of VMs that are gone': async () => {
    const site = await replicated();
    for (const name of ['vms/.deleted-db-01', 'vms/db-01']) {
      await mkdir(join(site.folder, 'r.state', name));
      await writeFile(join(site.folder, 'r.state', name, 'os.avhd'), 'x');
    }
    return { site, of: isProtected(1), ids: ['recovery/db-01/unfinished'] };
  },
  'change logs of an earlier epoch': async () => {
    const site = await replicated();
    await writeFile(`${site.disks[0]!.path}.0000-00000007.hrl`, 'x');
    return { site, of: isProtected(1), ids: ['h1/db-01/old-change-logs'] };
  },
  'a record that came after the replica was removed': async () => {
    const site = await replicated();
    await run(site.activities().endReplication, { vm });
    await run(site.activities().removeReplica, { vm, epoch: 1 });
    const lease = Buffer.from('{"until":"2020-01-01T00:00:00.000Z"}');
    await site.store.objects.put(vaultPaths.lease(vm, 'late'), lease, vmFence(vm, { epoch: 2, sequence: 0 }));
    return { site, of: isUnprotected, ids: ['store/db-01/records'] };
  },
};

test.for(Object.entries(planted))('%s: found, not removed while a job runs, then removed', async ([, plant]) => {
  const { site, of, ids } = await plant();
  expect(await idsOf(site, of)).toEqual(ids);
  const busy: ItemOf = async (name) =>
    name === vm ? { ...(await itemOf({ phase: 'Protected' })(vm))!, pending: [{ jobId: 'j' }] as never } : undefined;
  expect(await idsOf(site, busy)).toEqual([]);
  for (const id of ids) await refusedAs('is in use', site, busy, id);
  expect(await idsOf(site, of)).toEqual(ids);
  for (const id of ids) expect(await removeLeftover(placesOf(site), of, id)).toMatchObject({ id });
  expect(await findLeftovers(placesOf(site), of)).toEqual({ leftovers: [], kept: [], unknown: [] });
  for (const id of ids) await refusedAs('there is no leftover', site, of, id);
  // What the VM needs is untouched.
  if (of !== isUnprotected) expect(await readDescription(site.store, vm)).toBeDefined();
});

test('the notes about a VM that is gone from the site are removed, those about others are not', async () => {
  const site = await replicated();
  const state = join(site.folder, 'h.state');
  await writeFile(join(state, 'gone-01.json'), '{}');
  await mkdir(join(state, 'guests', 'gone-01'), { recursive: true });
  await writeFile(join(state, 'moved-01.json'), '{}');
  const places = { ...placesOf(site), siteVms: [vm, 'moved-01'] };
  const id = 'h1/gone-01/vm-state';
  expect((await findLeftovers(places, isProtected(1))).leftovers).toMatchObject([
    { id, bytes: expect.any(Number) as number, since: expect.any(String) as string },
  ]);
  await expect(removeLeftover(places, isProtected(1), 'h1/moved-01/vm-state')).rejects.toThrow('is in use');
  await removeLeftover(places, isProtected(1), id);
  expect((await findLeftovers(places, isProtected(1))).leftovers).toEqual([]);
  await access(join(state, 'moved-01.json'));
  await access(join(state, `${vm}.json`));
});

test('a hypervisor removes no files that it needs, and says the size and age of what it has', async () => {
  const site = await failedOver();
  await testing(site);
  for (const kind of ['changeLogs', 'overlays', 'vmState'] as const)
    await failsWith('InvalidVmState', site.hypervisor.removeFiles(kind, vm));
  await failsWith('InvalidVmState', site.compute.removeFiles('vmFolder', vm));
  await site.compute.removeFiles('unfinished', vm);
  await site.compute.removeFiles('unfinished', testVm);
  expect(await site.compute.describeVm(vm)).toMatchObject({ state: 'Running' });
  expect(await site.compute.listTestVms()).toMatchObject([{ name: testVm, state: 'Running' }]);
  const sized = { bytes: expect.any(Number) as number, changedAt: expect.any(String) as string };
  expect(await site.compute.listFiles()).toEqual([
    { kind: 'vmFolder', vm, ...sized },
    { kind: 'testVmFolder', vm: testVm, ...sized },
  ]);
  expect(await site.hypervisor.listFiles()).toEqual([{ kind: 'changeLogs', vm, ...sized }]);
});

test('a removal is refused if a job begins an epoch after it was decided', async () => {
  const site = await failingBack();
  const names = async () => await site.store.objects.list(vaultPaths.cyclePrefix(vm));
  const before = await names();
  const beginning: ItemOf = async (name) => {
    const item = await isCommitted(3)(name);
    await site.store.objects.raiseFence(vmFence(vm, { epoch: 4, sequence: 0 }));
    return item;
  };
  await refusedAs('fenced at epoch 4', site, beginning, 'store/db-01/change-sets');
  expect(await names()).toEqual(before);
});

test('a removal that dies at any of its changes is continued by the next one', async () => {
  const site = await committed();
  const of = isCommitted(2);
  const id = 'store/db-01/change-sets';
  const fence = vmFence(vm, { epoch: 2, sequence: 0 });
  const manifest = vaultPaths.manifest(vm, 3, 0);
  let died = true;
  let rounds = 0;
  for (let nth = 1; died; nth += 1) {
    for (const name of [vaultPaths.changes(vm, 3, 0, 'os'), manifest, vaultPaths.second(manifest)])
      await site.store.objects.put(name, Buffer.from('x'), fence);
    let changes = 0;
    died = false;
    const store = watchedStore(site.store, async (operation, _, call) => {
      if (died) throw new Error('dead');
      if (operation === 'objects.delete') changes += 1;
      const answer = await call();
      died = operation === 'objects.delete' && changes === nth;
      if (died) throw new Error('killed');
      return answer;
    });
    await removeLeftover({ ...placesOf(site), store }, of, id).catch((error: unknown) => {
      if (!died) throw error;
    });
    if ((await idsOf(site, of)).includes(id)) await removeLeftover(placesOf(site), of, id);
    expect(await idsOf(site, of)).toEqual([]);
    rounds = nth;
  }
  expect(rounds).toBe(4);
});

test('a host and a recovery site that do not answer are named, and nothing of theirs is judged', async () => {
  const site = await replicated();
  await testing(site);
  const away = (place: object, code: FailureCode) =>
    new Proxy(place, {
      get: () => async () => {
        throw new CatalogueError(code, 'away');
      },
    });
  const places = {
    ...placesOf(site),
    compute: away(site.compute, 'RecoverySideNotAnswering') as Places['compute'],
    hosts: new Map([['h1', away(site.hypervisor, 'HypervisorUnreachable') as Site['hypervisor']]]),
  };
  expect(await findLeftovers(places, isProtected(1))).toEqual({ leftovers: [], kept: [], unknown: ['recovery', 'h1'] });
  const asked = removeLeftover(places, isProtected(1), 'recovery/db-01/test-vm');
  await expect(asked).rejects.toThrow('recovery does not answer here');
});
