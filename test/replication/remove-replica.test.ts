/** The end of a replica in a real store. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { createRecoveryPoint, listRecoveryPoints } from '../../replication/recovery-points.js';
import { keepReplica, removeReplica } from '../../replication/remove-replica.js';
import { readDescription } from '../../replication/replica-state.js';
import { shipCycle } from '../../replication/ship.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { failsWith } from '../support/fails-with.js';
import { dieAtEveryCall } from './faulty-store.js';
import { KiB, MiB, Model, VM, write } from './model.js';
import { copiesOf, openStore, replicaBytes, seedReplica } from './replica-fixture.js';

const AT = '2026-01-02T00:00:00.000Z';

/** A replica with one applied cycle, made a recovery point, and one that was only sent. */
async function replica() {
  const { store, folder } = await openStore();
  const model = new Model({ os: MiB, data: MiB });
  model.write('os', write(0, 256 * KiB, 1));
  await seedReplica(store, model);
  const ship = async (sequence: number) => {
    model.write('data', write(0, 64 * KiB, sequence));
    const { cut, changeSet } = model.seal(1, sequence);
    await shipCycle(store, changeSet, cut, { epoch: 1, sequence });
    return { content: Buffer.from(model.disks.get('data')!) };
  };
  const { content } = await ship(1);
  await applyCycle(store, { vm: VM, epoch: 1, sequence: 1 });
  await createRecoveryPoint(store, { vm: VM, epoch: 1, sequence: 1, kind: 'crashConsistent' });
  await ship(2);
  return { store, folder, model, content };
}

const disksOf = async (store: ReplicaStore) =>
  Promise.all(['os', 'data'].map((disk) => store.disks.size({ vm: VM, disk })));

test('a removed replica leaves nothing but the fence, which refuses late writers', async () => {
  const { store, folder } = await replica();
  await removeReplica(store, { vm: VM, epoch: 1 });
  expect(await store.objects.list(`${vaultPaths.vm(VM)}/`)).toEqual([]);
  expect(await disksOf(store)).toEqual([undefined, undefined]);
  expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 2, sequence: 0 });
  const late = { scope: vaultPaths.vm(VM), epoch: 1, sequence: 3 };
  await failsWith('StaleEpoch', store.objects.put(vaultPaths.manifest(VM, 1, 3), Buffer.from('{}'), late));
  const files = await readdir(path.join(folder, 'vms', VM), { recursive: true, withFileTypes: true });
  // The store's own marks are hidden; they are for whoever writes here next.
  expect(files.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map(({ name }) => name)).toEqual([]);
});

test('the VM can be protected again under a higher epoch; a late removal deletes nothing of that', async () => {
  const { store, model } = await replica();
  await removeReplica(store, { vm: VM, epoch: 1 });
  await seedReplica(store, model, 3);
  await failsWith('StaleEpoch', removeReplica(store, { vm: VM, epoch: 1 }));
  expect(await disksOf(store)).toEqual([MiB, MiB]);
});

test('a removal that dies at any point is completed by the next one', { timeout: 180_000 }, async () => {
  const copy = await copiesOf(await replica());
  const calls = await dieAtEveryCall(async () => {
    const { store } = await copy();
    return {
      store,
      work: (faulty) => removeReplica(faulty, { vm: VM, epoch: 1 }),
      check: async () => {
        expect(await store.objects.list(`${vaultPaths.vm(VM)}/`)).toEqual([]);
        expect(await disksOf(store)).toEqual([undefined, undefined]);
      },
    };
  });
  expect(calls).toBeGreaterThan(5);
});

test('a kept replica does not change, keeps its recovery points, and records since when it is kept', async () => {
  const { store, folder, content } = await replica();
  await keepReplica(store, { vm: VM, epoch: 1, unprotectedAt: AT, inUse: false });
  expect(await readDescription(store, VM)).toMatchObject({ epoch: 1, unprotectedAt: AT });
  expect((await listRecoveryPoints(store, VM)).length).toBe(1);
  expect((await replicaBytes(folder, 'data', MiB)).equals(content)).toBe(true);
  expect(await store.objects.list(vaultPaths.cyclePrefix(VM))).toEqual([]);
  expect((await store.objects.readFence(vaultPaths.vm(VM))).epoch).toBe(2);
});

test('a replica that a replica VM runs from keeps its fence: that VM keeps the right to write', async () => {
  const { store } = await replica();
  await store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 });
  await keepReplica(store, { vm: VM, epoch: 2, unprotectedAt: AT, inUse: true });
  expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 2, sequence: 0 });
  expect((await listRecoveryPoints(store, VM)).length).toBe(1);
  expect(await disksOf(store)).toEqual([MiB, MiB]);
});
