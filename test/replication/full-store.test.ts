/** A store without any space left: what is expired makes room, and a failover needs next to none. */
import path from 'node:path';
import { expect, test, type TestContext } from 'vitest';
import { policySchema } from '../../domain/policy.js';
import { recoveryPointId } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import { failoverPoint, LATEST_PROCESSED } from '../../replication/failover-point.js';
import { withRoom } from '../../replication/make-room.js';
import { createRecoveryPoint, listRecoveryPoints } from '../../replication/recovery-points.js';
import { keepPolicy, vmFence, writeVaultState } from '../../replication/replica-state.js';
import { shipCycle } from '../../replication/ship.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { failsWith } from '../support/fails-with.js';
import { leave, smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { MiB, Model, VM, write } from './model.js';
import { expectReplicaOf, seedReplica } from './replica-fixture.js';
import { readDisk } from '../support/replica-disks.js';

const SIZE = 4 * MiB;
const of = { vm: VM, epoch: 1, retention: 'kept' } as const;
const policyOf = (recoveryPointRetentionHours: number) =>
  policySchema.parse({ name: 'gold', recoveryPointRetentionHours });

/** With three recovery points, of which all but the newest are expired. */
async function replicaOnSmallStore(context: TestContext) {
  const folder = await smallFileSystem(path.join(await temporaryFolder(), 'small'), 96, context);
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  const model = new Model({ os: SIZE });
  await seedReplica(store, model);
  await keepPolicy(store, VM, policyOf(0), { epoch: 1, sequence: 1 });
  for (const sequence of [1, 2, 3]) {
    await ship(store, model, sequence);
    await apply(store, sequence);
  }
  return { folder, store, model };
}

/** The whole disk is written anew. */
async function ship(store: ReplicaStore, model: Model, sequence: number): Promise<void> {
  model.write('os', write(0, SIZE, sequence));
  const { cut, changeSet } = model.seal(1, sequence);
  await withRoom(store, of, async () => await shipCycle(store, changeSet, cut, { epoch: 1, sequence }));
}

async function apply(store: ReplicaStore, sequence: number): Promise<void> {
  const step = async () => {
    await applyCycle(store, { ...of, sequence });
    await createRecoveryPoint(store, { ...of, sequence, kind: 'crashConsistent' });
  };
  await withRoom(store, of, step);
  await pruneCycles(store, of);
}

const pointIds = async (store: ReplicaStore) => (await listRecoveryPoints(store, VM)).map(({ id }) => id);

test('the next cycle is received and applied after expired points have been deleted', async (context) => {
  const { folder, store, model } = await replicaOnSmallStore(context);
  await leave(folder, 0);
  await ship(store, model, 4);
  expect(await pointIds(store)).toEqual([recoveryPointId(1, 3)]);
  await leave(folder, SIZE + MiB);
  await apply(store, 4);
  await expectReplicaOf(folder, model);
  await store.close();
});

test('if nothing has expired, the store stays full, keeps its points, and can be failed over', async (context) => {
  const { folder, store, model } = await replicaOnSmallStore(context);
  await keepPolicy(store, VM, policyOf(24), { epoch: 1, sequence: 3 });
  await leave(folder, SIZE + 2 * MiB);
  await ship(store, model, 4);
  await leave(folder, 0);
  const points = await pointIds(store);
  await failsWith('StoreFull', apply(store, 4));
  await failsWith('StoreFull', ship(store, model, 5));
  expect(await pointIds(store)).toEqual(points);

  const point = await failoverPoint(store, VM, LATEST_PROCESSED);
  expect(point.id).toBe(recoveryPointId(1, 3));
  await store.objects.raiseFence(vmFence(VM, { epoch: 3, sequence: 0 }));
  const at = new Date().toISOString();
  const state = { epoch: 3, phase: 'FailedOver', recoveryPoint: point.id, recoveryPointTime: point.time, at } as const;
  await writeVaultState(store, VM, state);
  const [os] = point.disks;
  const found = await readDisk(store.disks, { vm: VM, disk: 'os' }, 0, SIZE, os!.snapshot);
  expect(found.equals(write(0, SIZE, 3).data!)).toBe(true);
  await store.close();
});
