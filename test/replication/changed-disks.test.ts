/** A replica whose source gets other disks, or larger ones, and the recovery points from before and after. */
import { truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { describedAt } from '../../replication/described-point.js';
import { exportPoint } from '../../replication/export-point.js';
import { createRecoveryPoint, listRecoveryPoints, pruneRecoveryPoints } from '../../replication/recovery-points.js';
import { removeReplica } from '../../replication/remove-replica.js';
import { readDescription } from '../../replication/replica-state.js';
import { beginResync } from '../../replication/resync.js';
import { shipCycle } from '../../replication/ship.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { dieAtEveryCall } from './faulty-store.js';
import { KiB, MiB, Model, VM, write } from './model.js';
import { copiesOf, expectReplicaOf, openStore, replicaFile, resyncReplica, seedReplica } from './replica-fixture.js';
import { readDisk } from '../support/replica-disks.js';

const OS = 2 * MiB + 512;
const point = (epoch: number) => ({ vm: VM, epoch, sequence: 1, kind: 'crashConsistent' as const });

async function cycle(store: ReplicaStore, model: Model, epoch: number): Promise<void> {
  model.write('os', write(8 * KiB, 4 * KiB, epoch));
  const { cut, changeSet } = model.seal(epoch, 1);
  await shipCycle(store, changeSet, cut, { epoch, sequence: 1 });
  await applyCycle(store, { vm: VM, epoch, sequence: 1 });
  await createRecoveryPoint(store, point(epoch));
}

/** A point of the disks `os` and `old`; since then `os` has grown, `old` is gone, `added` is new. */
async function changed() {
  const { store, folder } = await openStore();
  const before = new Model({ os: OS, old: 1 * MiB });
  before.write('os', write(0, OS, 1));
  before.write('old', write(64 * KiB, 128 * KiB, 2));
  await seedReplica(store, before);
  await cycle(store, before, 1);
  const model = new Model({ os: 4 * MiB + 1024, added: 3 * MiB });
  before.disks.get('os')!.copy(model.disks.get('os')!);
  model.write('os', write(OS - 4096, 600 * KiB, 3));
  model.write('added', write(1 * MiB, 1 * MiB, 4));
  model.seal(1, 2);
  return { store, folder, before, model };
}

test('the replica gets the new set and sizes, and each point keeps its own in every export', async (context) => {
  requireReader('qemu-img', context);
  const { store, folder, before, model } = await changed();
  await resyncReplica(store, model, 2);
  await expectReplicaOf(folder, model);
  await cycle(store, model, 2);
  await expectReplicaOf(folder, model);
  const description = (await readDescription(store, VM))!;
  expect(description).toMatchObject({
    osDisk: 'os',
    disks: [{ name: 'os', size: 4 * MiB + 1024, replicaSize: 5 * MiB }, { name: 'added' }],
    formerDisks: ['old'],
  });
  const points = await listRecoveryPoints(store, VM);
  for (const [at, wanted] of [before, model].entries()) {
    const to = path.join(await temporaryFolder(), 'out');
    await exportPoint(store, { vm: VM, wanted: recoveryPointId(at + 1, 1), folder: to });
    for (const [disk, content] of wanted.disks) {
      const raw = path.join(await temporaryFolder(), 'wanted.raw');
      await writeFile(raw, content);
      await truncate(raw, Math.ceil(content.length / MiB) * MiB);
      for (const file of [path.join(to, `${disk}.vhd`), ...(at === 1 ? [replicaFile(folder, disk)] : [])]) {
        expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', raw, file)).toContain('identical');
      }
    }
    const { disks } = await describedAt(store, description, points[at]!);
    expect(disks.map(({ name, size }) => [name, size])).toEqual(
      [...wanted.disks].map(([name, { length }]) => [name, length]),
    );
  }
  // A point of before there were sizes in them: known from the snapshot, up to the next MiB.
  const old = { ...points[0]!, disks: points[0]!.disks.map(({ name, snapshot }) => ({ name, snapshot })) };
  expect((await describedAt(store, description, old)).disks).toEqual([
    { name: 'os', size: 3 * MiB, replicaSize: 3 * MiB },
    { name: 'old', size: 1 * MiB, replicaSize: 1 * MiB },
  ]);
});

test('the blob of a removed disk is deleted with the last point that names it, or with the replica', async () => {
  const { store, model } = await changed();
  const former = { vm: VM, disk: 'old' };
  await resyncReplica(store, model, 2);
  await cycle(store, model, 2);
  await pruneRecoveryPoints(store, { vm: VM, epoch: 2, retainedFrom: 0 });
  expect(await store.disks.size(former)).toBe(1 * MiB);
  await pruneRecoveryPoints(store, { vm: VM, epoch: 2, retainedFrom: Date.UTC(2027, 0, 1) });
  expect(await store.disks.size(former)).toBeUndefined();
  expect(await store.disks.listSnapshots({ vm: VM, disk: 'os' })).toHaveLength(1);

  const other = await changed();
  await resyncReplica(other.store, other.model, 2);
  await removeReplica(other.store, { vm: VM, epoch: 2 });
  for (const disk of ['os', 'old', 'added']) {
    expect(await other.store.disks.size({ vm: VM, disk }), disk).toBeUndefined();
  }
  expect(await other.store.objects.list('')).toEqual([]);
});

test('a disk that is added again reuses its blob; a smaller one is refused, and nothing is changed', async () => {
  const { store, folder, model } = await changed();
  await resyncReplica(store, model, 2);
  await cycle(store, model, 2);
  const refused = async (disks: { name: string; size: number }[]) => {
    const before = await readDescription(store, VM);
    await expect(beginResync(store, { vm: VM, epoch: 3, disks })).rejects.toMatchObject({
      code: 'PrerequisitesNotMet',
      detail: expect.stringMatching(/cannot be made smaller.*protect it again/),
    });
    expect(await readDescription(store, VM)).toEqual(before);
    expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 2, sequence: 1 });
  };
  await refused([
    { name: 'os', size: 4 * MiB },
    { name: 'added', size: 3 * MiB },
  ]);
  await refused([
    { name: 'os', size: 5 * MiB },
    { name: 'old', size: 512 * KiB + 512 },
    { name: 'added', size: 2 * MiB },
  ]);
  const again = new Model({ os: 4 * MiB + 1024, old: 2 * MiB });
  model.disks.get('os')!.copy(again.disks.get('os')!);
  again.write('old', write(1 * MiB, 64 * KiB, 7));
  again.seal(2, 2);
  await resyncReplica(store, again, 3);
  await cycle(store, again, 3);
  await expectReplicaOf(folder, again);
  expect((await readDescription(store, VM))!.formerDisks).toEqual(['added']);
  const old = (await listRecoveryPoints(store, VM))[0]!.disks[1]!;
  expect(await store.disks.size({ vm: VM, disk: 'old' }, old.snapshot)).toBe(1 * MiB);
});

test('after a beginning that died at any call is repeated, disks and points are right', async () => {
  const { before, model, ...prepared } = await changed();
  const copy = await copiesOf(prepared);
  const calls = await dieAtEveryCall(async () => {
    const { store, folder } = await copy();
    const disks = [...model.disks].map(([name, { length: size }]) => ({ name, size }));
    return {
      store,
      work: (faulty) => beginResync(faulty, { vm: VM, epoch: 2, disks }),
      check: async () => {
        await resyncReplica(store, model, 2);
        await expectReplicaOf(folder, model);
        const [kept] = await listRecoveryPoints(store, VM);
        for (const { name, snapshot } of kept!.disks) {
          const content = before.disks.get(name)!;
          const found = await readDisk(store.disks, { vm: VM, disk: name }, 0, content.length, snapshot);
          expect(found.equals(content), name).toBe(true);
        }
        await store.close();
      },
    };
  });
  expect(calls).toBeGreaterThan(15);
});
