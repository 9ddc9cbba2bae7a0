/** What the replication engine has to come to on every store, whenever its process is killed. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recoveryPointId } from '../../domain/vault.js';
import { openReplicaStore } from '../../local/open-replica-store.js';
import { CYCLES, engineModel, writeCycle } from '../replication/engine-model.js';
import { contents, expectPoints } from '../replication/expected-points.js';
import { VM } from '../replication/model.js';
import { ChildProgram, ended } from '../support/child-program.js';
import { requireReader, runReader } from '../support/readers.js';
import type { StorePlace } from '../support/store-place.js';
import { temporaryFolder } from '../support/temporary-folder.js';

export function killedEngineContract(adapter: string, makePlace: () => Promise<StorePlace>): void {
  describe(`the engine on the ${adapter} store, killed again and again`, () => {
    let program: ChildProgram;
    beforeAll(async () => {
      program = await ChildProgram.compile('test/replication/engine-program.ts');
    });
    afterAll(() => program.remove());

    test('it produces the same bytes', async (context) => {
      requireReader('qemu-img', context);
      const folder = await temporaryFolder();
      const place = await makePlace();
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
        const child = program.start(JSON.stringify(place.address), ...sources);
        let seen = 0;
        child.stdout!.on('data', (dots: Buffer) => {
          seen += dots.length;
          if (seen >= calls) child.kill('SIGKILL');
        });
        const end = await ended(child);
        if (end === 0) break;
        expect(end).toBe('SIGKILL');
        kills += 1;
        await place.settled();
      }
      expect(kills).toBeGreaterThan(4);

      const store = await openReplicaStore(place.address);
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
          await place.replica(VM, disk),
        );
        expect(output).toContain('identical');
        expect(await store.disks.listSnapshots({ vm: VM, disk })).toHaveLength(CYCLES);
      }
    }, 300_000);
  });
}
