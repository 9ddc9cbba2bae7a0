/** The engine on disks that are no page blobs and no VHDs: it needs no more of a store than the ports tell. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { openVhd } from '../../disks/vhd.js';
import { recoveryPointId } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { exportPoint } from '../../replication/export-point.js';
import { createRecoveryPoint } from '../../replication/recovery-points.js';
import { replicaSizeOf } from '../../replication/replica.js';
import { shipCycle } from '../../replication/ship.js';
import { compareWithSource, digestForVerification } from '../../replication/verify.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { MemoryStore } from '../contracts/memory-store.js';
import { readDisk } from '../support/replica-disks.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { contents, expectPoints } from './expected-points.js';
import { KiB, MiB, Model, VM, write, zero } from './model.js';
import { rawDiskOf, resyncReplica, seedReplica } from './replica-fixture.js';

async function cycle(store: ReplicaStore, model: Model, epoch: number, sequence: number): Promise<void> {
  const { cut, changeSet } = model.seal(epoch, sequence);
  await shipCycle(store, changeSet, cut, { epoch, sequence });
  await applyCycle(store, { vm: VM, epoch, sequence });
  await createRecoveryPoint(store, { vm: VM, epoch, sequence, kind: 'crashConsistent' });
}

async function expectLive(store: ReplicaStore, model: Model): Promise<void> {
  for (const [disk, content] of model.disks) {
    const found = await readDisk(store.disks, { vm: VM, disk }, 0, replicaSizeOf(content.length));
    expect(found.equals(Buffer.concat([content], found.length)), disk).toBe(true);
  }
}

test('copies, applies, keeps points, verifies, resynchronizes grown disks and exports, byte for byte', async () => {
  const store = new MemoryStore().open();
  const model = new Model({ os: 2 * MiB + 512, data: 1 * MiB });
  model.write('os', write(64 * KiB, 300 * KiB, 1));
  model.write('data', write(0, 1 * MiB, 2));
  await seedReplica(store, model);
  await expectLive(store, model);
  const states = new Map<string, Map<string, Buffer>>();
  for (const sequence of [1, 2]) {
    model.write('os', write(sequence * 512 * KiB, 200 * KiB, sequence));
    model.write('os', zero(64 * KiB, sequence * 4 * KiB));
    model.write('data', write(sequence * 64 * KiB + 512, 1 * KiB, sequence + 5));
    await cycle(store, model, 1, sequence);
    states.set(recoveryPointId(1, sequence), contents(model));
  }
  await expectLive(store, model);
  await expectPoints(store, states);
  const at = { vm: VM, disk: 'os', epoch: 1, sequence: 2 };
  await digestForVerification(store, at);
  const source = await rawDiskOf(model.disks.get('os')!);
  const compared = await compareWithSource(store, source, { ...at, fromOffset: 0 }, () => false);
  expect(compared).toMatchObject({ done: true, differingBlocks: 0 });
  await source.close();

  // Written where no cycle tells of it, and to a larger disk.
  const grown = new Model({ os: 4 * MiB + 512, data: 1 * MiB });
  for (const [disk, content] of model.disks) content.copy(grown.disks.get(disk)!);
  grown.write('os', write(3 * MiB, 64 * KiB, 9));
  await resyncReplica(store, grown, 4);
  grown.seal(4, 0);
  grown.write('data', zero(0, 128 * KiB));
  await cycle(store, grown, 4, 1);
  states.set(recoveryPointId(4, 1), contents(grown));
  await expectLive(store, grown);
  await expectPoints(store, states);

  for (const [point, disks] of states) {
    const folder = path.join(await temporaryFolder(), 'export');
    const exported = await exportPoint(store, { vm: VM, wanted: point, folder });
    for (const { name, file, size } of exported.disks) {
      const content = disks.get(name)!;
      const bytes = await readFile(path.join(folder, file));
      expect(bytes.subarray(0, size).equals(Buffer.concat([content], size)), `${point} ${name}`).toBe(true);
      const vhd = await openVhd(path.join(folder, file), { readOnly: true });
      expect(vhd.size).toBe(replicaSizeOf(content.length));
      await vhd.close();
    }
  }
});
