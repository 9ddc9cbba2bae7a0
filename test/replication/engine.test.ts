import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import { createRecoveryPoint, listRecoveryPoints } from '../../replication/recovery-points.js';
import { shipCycle } from '../../replication/ship.js';
import { EmbeddedReplicaStore } from '../../sites/embedded/replica-store.js';
import type { ReplicaStore } from '../../sites/ports.js';
import { ChildProgram, ended } from '../support/child-program.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { CYCLES, engineModel, writeCycle } from './engine-model.js';
import { FaultyStore } from './faulty-store.js';
import { MiB, Model, VM, write, zero } from './model.js';
import { openStore, replicaBytes, replicaFile, seedReplica } from './replica-fixture.js';

const contents = (model: Model) => new Map([...model.disks].map(([name, content]) => [name, Buffer.from(content)]));

async function expectPoints(store: ReplicaStore, states: ReadonlyMap<string, Map<string, Buffer>>): Promise<void> {
  const points = await listRecoveryPoints(store, VM);
  expect(points.map(({ id }) => id)).toEqual([...states.keys()]);
  for (const { id, disks } of points) {
    for (const { name, snapshot } of disks) {
      const content = states.get(id)!.get(name)!;
      const found = await store.readPages(vaultPaths.disk(VM, name), 0, content.length, snapshot);
      expect(found.equals(content), `${id} ${name}`).toBe(true);
    }
  }
}

describe('the engine', () => {
  test('whatever is written, each recovery point is the source at its cycle, and the replica at the last', async () => {
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

  describe('killed again and again', () => {
    let program: ChildProgram;
    beforeAll(async () => {
      program = await ChildProgram.compile('test/replication/engine-program.ts');
    });
    afterAll(() => program.remove());

    test('it comes to the same bytes', async (context) => {
      requireReader('qemu-img', context);
      const folder = await temporaryFolder();
      const storeFolder = path.join(folder, 'store');
      const model = engineModel();
      const sources: string[] = [];
      for (const [disk, content] of model.disks) {
        const file = path.join(folder, `${disk}.raw`);
        await writeFile(file, content);
        sources.push(file);
      }
      // Each run gets further than the one before it could have: at last one gets through.
      let kills = 0;
      for (let calls = 3; ; calls += 7) {
        const child = program.start(storeFolder, ...sources);
        let seen = 0;
        child.stdout!.on('data', (dots: Buffer) => {
          seen += dots.length;
          if (seen >= calls) child.kill('SIGKILL');
        });
        const end = await ended(child);
        if (end === 0) break;
        expect(end).toBe('SIGKILL');
        kills += 1;
      }
      expect(kills).toBeGreaterThan(4);

      const store = await EmbeddedReplicaStore.open(storeFolder);
      const states = new Map<string, Map<string, Buffer>>();
      for (let sequence = 1; sequence <= CYCLES; sequence += 1) {
        writeCycle(model, sequence);
        states.set(recoveryPointId(1, sequence), contents(model));
      }
      await expectPoints(store, states);
      for (const [disk, content] of model.disks) {
        const file = path.join(folder, `${disk}-now.raw`);
        await writeFile(file, content);
        const output = await runReader(
          'qemu-img',
          'compare',
          '-f',
          'raw',
          '-F',
          'vpc',
          file,
          replicaFile(storeFolder, disk),
        );
        expect(output).toContain('identical');
        expect(await store.listSnapshots(vaultPaths.disk(VM, disk))).toHaveLength(CYCLES);
      }
    }, 300_000);
  });
});
