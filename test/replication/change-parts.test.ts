/** A cycle whose changes take several change files: bounded, resumed where it was cut off, and applied as one. */
import { blake3 } from '@napi-rs/blake-hash';
import { describe, expect, test } from 'vitest';
import { CatalogueError } from '../../domain/errors.js';
import { cycleManifestSchema, vaultPaths, type CycleManifest } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import { changeFilesOf, PART_LIMITS, planParts } from '../../replication/change-parts.js';
import { readManifest, shipCycle } from '../../replication/ship.js';
import { encodeRecord } from '../../replication/vault-record.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { inBatches } from '../support/change-sets.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { KiB, MiB, Model, VM, write, zero } from './model.js';
import { copiesOf, expectReplicaOf, openStore, seedReplica } from './replica-fixture.js';

const FIRST = { epoch: 1, sequence: 1 };
const partLimits = { payload: 64 * KiB, rows: 3 };

/** The first disk takes three parts, one of them for its rows alone; the second one file. */
async function begun() {
  const { store, folder } = await openStore();
  const model = new Model({ os: 2 * MiB, data: 1 * MiB });
  model.write('os', write(0, 1 * MiB, 9));
  await seedReplica(store, model);
  model.write('os', write(4096, 40 * KiB, 1));
  model.write('os', write(128 * KiB, 40 * KiB, 2));
  for (const offset of [256, 300, 340]) model.write('os', zero(offset * KiB, 4096));
  model.write('os', write(1 * MiB, 8 * KiB, 3));
  model.write('data', write(0, 512, 4));
  const { cut, changeSet } = model.seal(1, 1);
  return { store, folder, model, ship: (to: ReplicaStore) => shipCycle(to, changeSet, cut, FIRST, { partLimits }) };
}

const apply = (store: ReplicaStore) => applyCycle(store, { vm: VM, ...FIRST });
const osOf = (manifest: CycleManifest) => manifest.disks.find(({ name }) => name === 'os')!;
const part = (number: number) => vaultPaths.changesPart(VM, 1, 1, 'os', number);

describe('a cycle in parts', () => {
  test('the manifest lists every part, and the replica gets all of them', async () => {
    const { store, folder, model, ship } = await begun();
    const manifest = await ship(store);
    const { parts, ...os } = osOf(manifest);
    expect(parts).toMatchObject([
      { dataBytes: 80 * KiB, ranges: 2 },
      { dataBytes: 0, ranges: 3 },
      { dataBytes: 8 * KiB, ranges: 1 },
    ]);
    expect(os).toMatchObject({ dataBytes: 88 * KiB, ranges: 6, length: 3 * 512 + 88 * KiB + 6 * 20 });
    for (const { name, length, digest } of changeFilesOf(manifest, osOf(manifest))) {
      const file = (await store.objects.get(name))!;
      expect([file.length, blake3(file).toString('hex')]).toEqual([length, digest]);
    }
    expect(manifest.disks[1]).not.toHaveProperty('parts');
    await apply(store);
    await expectReplicaOf(folder, model);
  });

  test('interrupted at any call and run again, nothing is sent twice, and the cycle is the same', async () => {
    const uploads = new Map<string, number>();
    let scenarios = 0;
    const prepared = await begun();
    const { model, ship } = prepared;
    const copy = await copiesOf(prepared);
    await dieAtEveryCall(async () => {
      scenarios += 1;
      const { store, folder } = await copy();
      const counting = intercept(store, 'objects.upload', {
        after: async (name) => uploads.set(String(name), (uploads.get(String(name)) ?? 0) + 1),
      });
      return {
        store: counting,
        work: ship,
        check: async () => {
          await apply(store);
          await expectReplicaOf(folder, model);
        },
      };
    });
    // But for the parts that were under way: sent, and not yet read back and recorded when the shipper died.
    for (const number of [0, 1]) expect(uploads.get(part(number))! - scenarios).toBeLessThanOrEqual(4);
  });

  test('a part is sent again if it belongs to another cut, or its record is damaged', async () => {
    for (const damage of [
      (content: string) => content.replace(/"lastWrite": \d+/, '"lastWrite": 1'),
      () => 'not a record',
    ]) {
      const { store, folder, model, ship } = await begun();
      const last = vaultPaths.manifest(VM, 1, 1);
      const dying = intercept(store, 'objects.putIfAbsent', {
        before: (name) =>
          name === last ? Promise.reject(new CatalogueError('StoreUnreachable', 'gone')) : Promise.resolve(),
      });
      await expect(ship(dying)).rejects.toMatchObject({ code: 'StoreUnreachable' });
      const record = vaultPaths.sentPart(VM, 1, 1, 'os', 1);
      const fence = { scope: vaultPaths.vm(VM), ...FIRST };
      const damaged = damage((await store.objects.get(record))!.toString());
      await store.objects.put(record, Buffer.from(damaged), fence);
      const sent: unknown[] = [];
      await ship(intercept(store, 'objects.upload', { before: async (name) => sent.push(name) }));
      expect(sent).toEqual(expect.arrayContaining([part(1)]));
      expect(sent).not.toContain(part(0));
      await apply(store);
      await expectReplicaOf(folder, model);
    }
  });

  test.each([
    ['missing', (store: ReplicaStore) => store.objects.delete(part(1), { scope: vaultPaths.vm(VM), ...FIRST })],
    [
      'in the place of another',
      async (store: ReplicaStore) => {
        const other = (await store.objects.get(part(0)))!;
        await store.objects.put(part(1), other, { scope: vaultPaths.vm(VM), ...FIRST });
      },
    ],
    [
      'left out of the manifest',
      async (store: ReplicaStore) => {
        const manifest = (await readManifest(store, VM, FIRST))!;
        osOf(manifest).parts!.pop();
        const record = encodeRecord(cycleManifestSchema, manifest);
        await store.objects.put(vaultPaths.manifest(VM, 1, 1), record, { scope: vaultPaths.vm(VM), ...FIRST });
      },
    ],
  ])('a part that is %s: nothing of the cycle is applied', async (_, damage) => {
    const { store, folder, model, ship } = await begun();
    const before = new Map([...model.disks].map(([name, content]) => [name, Buffer.from(content)]));
    await ship(store);
    await damage(store);
    await expect(apply(store)).rejects.toMatchObject({ code: 'LogBroken' });
    for (const content of before.values()) content.fill(0);
    before.get('os')!.set(write(0, 1 * MiB, 9).data!);
    model.disks.clear();
    for (const [name, content] of before) model.disks.set(name, content);
    await expectReplicaOf(folder, model);
  });

  test('pruning deletes all of its parts', async () => {
    const { store, model, ship } = await begun();
    await ship(store);
    await apply(store);
    for (const sequence of [2, 3]) {
      const { cut, changeSet } = model.seal(1, sequence);
      await shipCycle(store, changeSet, cut, { epoch: 1, sequence });
      await applyCycle(store, { vm: VM, epoch: 1, sequence });
    }
    await pruneCycles(store, { vm: VM, epoch: 1 });
    const left = await store.objects.list(vaultPaths.cyclePrefix(VM));
    expect(left.filter((name) => name.includes('0001-00000001'))).toEqual([]);
    expect(left).toHaveLength(2);
  });
});

test('a change of 200 GiB is divided into parts that every store accepts', async () => {
  const length = 4 * MiB;
  const ranges = function* () {
    for (let offset = 0; offset < 200 * 1024 * MiB; offset += length)
      yield { offset, length, zero: false, position: 0 };
  };
  const parts = await planParts(inBatches(ranges(), 1024), 256 * 1024 * MiB, PART_LIMITS);
  expect(parts.reduce((sum, { payload }) => sum + payload, 0)).toBe(200 * 1024 * MiB);
  // An Azure block blob takes 50,000 blocks, of 4 MiB as they are sent.
  for (const { payload, rows } of parts) expect(payload + rows * 20).toBeLessThan(50_000 * 4 * MiB);
});
