/** Reading a recovery point for long, while cycles go on and the retention is as short as can be; and without a right to write. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import { exportPoint } from '../../replication/export-point.js';
import { createRecoveryPoint, listRecoveryPoints, pruneRecoveryPoints } from '../../replication/recovery-points.js';
import { vmFence } from '../../replication/replica-state.js';
import { shipCycle } from '../../replication/ship.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { intercept } from './intercepted-store.js';
import { KiB, MiB, Model, VM, write } from './model.js';
import { openStore, seedReplica } from './replica-fixture.js';

const run = promisify(execFile);
const of = { vm: VM, epoch: 1 };
const pointIds = async (store: ReplicaStore) => (await listRecoveryPoints(store, VM)).map(({ id }) => id);

async function ship(store: ReplicaStore, model: Model, sequence: number): Promise<Buffer> {
  model.write('os', write(0, 512 * KiB, sequence));
  const { cut, changeSet } = model.seal(1, sequence);
  await shipCycle(store, changeSet, cut, { epoch: 1, sequence });
  return Buffer.from(model.disks.get('os')!);
}

/** As the recovery site does it, with a retention of nothing. */
async function apply(store: ReplicaStore, sequence: number): Promise<void> {
  await applyCycle(store, { ...of, sequence });
  await createRecoveryPoint(store, { ...of, sequence, kind: 'crashConsistent' });
  await pruneRecoveryPoints(store, { ...of, retainedFrom: Infinity });
  await pruneCycles(store, of);
}

async function seeded(store: ReplicaStore): Promise<Model> {
  const model = new Model({ os: 1 * MiB });
  await seedReplica(store, model);
  await ship(store, model, 1);
  await apply(store, 1);
  return model;
}

async function exported(folder: string): Promise<Buffer> {
  return (await readFile(path.join(folder, 'os.vhd'))).subarray(0, MiB);
}

describe('an export', () => {
  test.each(['latest', 'latest-processed', recoveryPointId(1, 1)])(
    'of %s is what it was to be, however many cycles come and points go while it reads',
    async (wanted) => {
      const { store } = await openStore();
      const model = await seeded(store);
      const atPoint = Buffer.from(model.disks.get('os')!);
      let newest = await ship(store, model, 2);
      const expectedContent = wanted === 'latest' ? newest : atPoint;
      let goesOn = true;
      const meanwhile = async () => {
        if (!goesOn) return;
        goesOn = false;
        await apply(store, 2);
        for (let sequence = 3; sequence <= 6; sequence += 1) {
          newest = await ship(store, model, sequence);
          await apply(store, sequence);
        }
      };
      const busy = intercept(store, 'disk.read', { before: meanwhile });
      const folder = path.join(await temporaryFolder(), 'export');
      await exportPoint(busy, { vm: VM, wanted, folder });
      expect(goesOn).toBe(false);
      expect((await exported(folder)).equals(expectedContent)).toBe(true);

      // What was read goes with the next cycle, as all that is not kept.
      expect(await pointIds(store)).toEqual([1, 6].map((sequence) => recoveryPointId(1, sequence)));
      await ship(store, model, 7);
      await apply(store, 7);
      expect(await pointIds(store)).toEqual([recoveryPointId(1, 7)]);
      expect(await store.disks.listSnapshots({ vm: VM, disk: 'os' })).toHaveLength(1);
      expect(await store.objects.list(vaultPaths.leasePrefix(VM))).toEqual([]);
    },
  );

  test('that died does not protect its data forever', async () => {
    const { store } = await openStore();
    const model = await seeded(store);
    const fence = vmFence(VM, { epoch: 1, sequence: 1 });
    const lease = (until: string) => Buffer.from(JSON.stringify({ until }));
    await store.objects.put(vaultPaths.lease(VM, 'ended'), lease('2026-01-01T00:00:00.000Z'), fence);
    await store.objects.put(vaultPaths.lease(VM, 'wrong-clock'), lease('2199-01-01T00:00:00.000Z'), fence);
    await store.objects.put(vaultPaths.lease(VM, 'damaged'), Buffer.from('{'), fence);
    await ship(store, model, 2);
    await apply(store, 2);
    expect(await pointIds(store)).toEqual([recoveryPointId(1, 2)]);
    expect(await store.objects.list(vaultPaths.leasePrefix(VM))).toEqual([]);
  });
});

test.for(['latest', 'latest-processed', recoveryPointId(1, 1)])(
  'an export of %s reads a store that is mounted for reading only',
  async (wanted, context) => {
    const folder = await smallFileSystem(path.join(await temporaryFolder(), 'small'), 64, context);
    const writable = await EmbeddedReplicaStore.open(folder, { create: true });
    const model = await seeded(writable);
    const atPoint = Buffer.from(model.disks.get('os')!);
    // A cycle without changes, of which no point is made, then one that is only received.
    const { cut, changeSet } = model.seal(1, 2);
    await shipCycle(writable, changeSet, cut, { epoch: 1, sequence: 2 });
    await applyCycle(writable, { ...of, sequence: 2 });
    const newest = await ship(writable, model, 3);
    await writable.close();
    await run('mount', ['-o', 'remount,ro', folder]);
    const target = path.join(await temporaryFolder(), 'export');
    const store = await EmbeddedReplicaStore.open(folder);
    await exportPoint(store, { vm: VM, wanted, folder: target });
    await store.close();
    expect((await exported(target)).equals(wanted === 'latest' ? newest : atPoint)).toBe(true);
  },
);
