import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { recoveryPointId } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import { createRecoveryPoint } from '../../replication/recovery-points.js';
import { shipCycle } from '../../replication/ship.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { killedEngineContract } from '../contracts/killed-engine.js';
import { embeddedPlace } from '../support/store-place.js';
import { contents, expectPoints } from './expected-points.js';
import { FaultyStore } from './faulty-store.js';
import { MiB, Model, VM, write, zero } from './model.js';
import { openStore, replicaBytes, seedReplica } from './replica-fixture.js';

describe('the engine', () => {
  test('for any writes, each recovery point equals the source at its cycle, and the replica equals the last', async () => {
    const sectors = (1 * MiB) / 512;
    const change = fc.record({
      disk: fc.constantFrom('os', 'data'),
      sector: fc.oneof(fc.integer({ min: 0, max: sectors - 1 }), fc.constantFrom(0, 127, 128, sectors - 1)),
      sectors: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.constantFrom(128, 300)),
      seed: fc.oneof(fc.constant(undefined), fc.integer({ min: 1, max: 1000 })),
    });
    const cycle = fc.record({
      changes: fc.array(change, { maxLength: 12 }),
      point: fc.boolean(),
      /** Call to the store at which the first attempt at the cycle dies. */
      dies: fc.integer({ min: 1, max: 60 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(cycle, { minLength: 1, maxLength: 6 }), async (cycles) => {
        const { store, folder } = await openStore();
        const model = new Model({ os: 1 * MiB, data: 1 * MiB });
        await seedReplica(store, model);
        const states = new Map<string, Map<string, Buffer>>();
        for (const [index, { changes, point, dies }] of cycles.entries()) {
          const sequence = index + 1;
          for (const { disk, sector, sectors: count, seed } of changes) {
            const length = Math.min(count, sectors - sector) * 512;
            const offset = sector * 512;
            model.write(disk, seed === undefined ? zero(offset, length) : write(offset, length, seed));
          }
          const { cut, changeSet } = model.seal(1, sequence);
          const run = async (on: ReplicaStore) => {
            await shipCycle(on, changeSet, cut, { epoch: 1, sequence });
            await applyCycle(on, { vm: VM, epoch: 1, sequence });
            if (point) await createRecoveryPoint(on, { vm: VM, epoch: 1, sequence, kind: 'crashConsistent' });
            await pruneCycles(on, { vm: VM, epoch: 1 });
          };
          await run(new FaultyStore(store, dies).store).catch((error: unknown) =>
            expect(error).toMatchObject({ code: 'StoreUnreachable' }),
          );
          await run(store);
          if (point) states.set(recoveryPointId(1, sequence), contents(model));
        }
        for (const [disk, content] of model.disks) {
          expect((await replicaBytes(folder, disk, content.length)).equals(content), disk).toBe(true);
        }
        await expectPoints(store, states);
      }),
      { numRuns: 25 },
    );
  }, 180_000);
});

killedEngineContract('embedded', embeddedPlace);
