/**
 * Replicates a known VM, step by step, from wherever an earlier run of it was killed. Prints one dot for each call to
 * the store, so that the killer can tell how far it is.
 */
import { writeSync } from 'node:fs';
import { RawDisk } from '../../disks/raw.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import { createRecoveryPoint } from '../../replication/recovery-points.js';
import { readApplied } from '../../replication/replica-state.js';
import { prepareReplica } from '../../replication/replica.js';
import { copySlice } from '../../replication/seed.js';
import { releaseSeed } from '../../replication/seed-record.js';
import { shipCycle } from '../../replication/ship.js';
import { verifySeed } from '../../replication/verify-seed.js';
import type { StoreAddress } from '../../domain/store-address.js';
import { openReplicaStore } from '../../local/open-replica-store.js';
import { CYCLES, engineModel, writeCycle } from './engine-model.js';
import { intercept } from './intercepted-store.js';
import { describeReplica, sizesOf, VM } from './model.js';

const [address, ...sources] = process.argv.slice(2) as [string, ...string[]];
const model = engineModel();
const opened = await openReplicaStore(JSON.parse(address) as StoreAddress, { create: true });
const store = intercept(opened, 'every', { before: async () => writeSync(1, '.') });

const epoch = 1;
const seedFence = { epoch, sequence: 0 };
await prepareReplica(store, describeReplica(sizesOf(model), epoch), seedFence);
if (!(await readApplied(store, VM))) {
  for (const [index, disk] of [...model.disks.keys()].entries()) {
    const source = await RawDisk.open(sources[index]!, { readOnly: true });
    await copySlice(store, source, { vm: VM, disk, fromOffset: 0, maxBytes: Infinity, fence: seedFence });
    await source.close();
  }
  for (const disk of model.disks.keys()) await verifySeed(store, { vm: VM, disk, epoch });
}
model.seal(epoch, 0);
for (let sequence = 1; sequence <= CYCLES; sequence += 1) {
  writeCycle(model, sequence);
  const { cut, changeSet } = model.seal(epoch, sequence);
  // A cycle that was applied stays so; its logs would be gone.
  if (((await readApplied(store, VM))?.sequence ?? 0) > sequence) continue;
  await shipCycle(store, changeSet, cut, { epoch, sequence });
  await applyCycle(store, { vm: VM, epoch, sequence });
  await createRecoveryPoint(store, { vm: VM, epoch, sequence, kind: 'crashConsistent' });
  await pruneCycles(store, { vm: VM, epoch });
}
await releaseSeed(store, { vm: VM, epoch });
