/**
 * What every replica store promises, whatever it is made of. Each adapter's tests call this with a way to make an empty
 * store and to open it any number of times, as several processes would.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alignedBuffer } from '../../disks/direct-io.js';
import { CatalogueError, type FailureCode } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import { end, type Range } from '../../domain/ranges.js';
import type { WriteFence } from '../../ports/objects.js';
import type { PageWrite } from '../../ports/page-blobs.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { readPages } from '../support/read-pages.js';

export interface StoreUnderTest {
  /** Opens the store, new and empty at first, once more. */
  open(): Promise<ReplicaStore>;
}

export interface ContractOptions {
  /** Number of random histories; fewer where the store is slow. */
  readonly histories?: number;
  /** Milliseconds for the random histories together. */
  readonly timeout?: number;
}

const SCOPE = 'vms/db-01';
const at = (epoch: number, sequence: number, scope = SCOPE): WriteFence => ({ epoch, sequence, scope });
const NOW = at(1, 0);
const BLOB = `${SCOPE}/disks/os.vhd`;
const KiB = 1024;

export async function failsWith(code: FailureCode, work: Promise<unknown>): Promise<CatalogueError> {
  const error: unknown = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(CatalogueError);
  expect(error).toMatchObject({ code });
  return error as CatalogueError;
}

/** Bytes that differ from block to block and from seed to seed, and are never zero. */
export function content(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i += 1) bytes[i] = 1 + ((i * 31 + (i >> 9) * 17 + seed * 101) % 255);
  return bytes;
}

async function* chunked(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < data.length; offset += size) yield data.subarray(offset, offset + size);
}

export function replicaStoreContract(
  name: string,
  makeStore: () => Promise<StoreUnderTest>,
  options: ContractOptions = {},
): void {
  describe(`${name}: objects`, () => {
    test('an object is what was put last, whole, and seen by who opens the store later', async () => {
      const { open } = await makeStore();
      const store = await open();
      expect(await store.objects.get(`${SCOPE}/description.json`)).toBeUndefined();
      await store.objects.put(`${SCOPE}/description.json`, Buffer.from('first, and longer'), NOW);
      await store.objects.put(`${SCOPE}/description.json`, Buffer.from('second'), NOW);
      await store.objects.put(`${SCOPE}/empty`, Buffer.alloc(0), NOW);
      await store.close();
      const again = await open();
      expect((await again.objects.get(`${SCOPE}/description.json`))?.toString()).toBe('second');
      expect(await again.objects.get(`${SCOPE}/empty`)).toEqual(Buffer.alloc(0));
    });

    test('of several who put an object if it is absent, exactly one does', async () => {
      const { open } = await makeStore();
      const stores = await Promise.all([open(), open(), open()]);
      for (let round = 0; round < 5; round += 1) {
        const object = `${SCOPE}/points/${round}.json`;
        const tries = [0, 1, 2, 3, 4, 5];
        const won = await Promise.all(
          tries.map((t) => stores[t % 3]!.objects.putIfAbsent(object, Buffer.from(`by ${t}`), NOW)),
        );
        expect(won.filter(Boolean)).toHaveLength(1);
        expect((await stores[0]!.objects.get(object))?.toString()).toBe(`by ${won.indexOf(true)}`);
        expect(await stores[1]!.objects.putIfAbsent(object, Buffer.from('late'), NOW)).toBe(false);
        expect((await stores[2]!.objects.get(object))?.toString()).toBe(`by ${won.indexOf(true)}`);
      }
    });

    test('an upload is seen when it is whole, and a part of it can be read', async () => {
      const store = await (await makeStore()).open();
      const object = `${SCOPE}/cycles/0001-00000001/os.changes`;
      const data = content(300 * KiB + 77, 1);
      await store.objects.upload(object, chunked(content(1000, 9), 100), NOW);
      let seenMeanwhile: Buffer | undefined;
      async function* watched(): AsyncGenerator<Buffer> {
        yield data.subarray(0, 200 * KiB);
        seenMeanwhile = await store.objects.get(object);
        yield data.subarray(200 * KiB);
      }
      await store.objects.upload(object, watched(), NOW);
      expect(seenMeanwhile).toEqual(content(1000, 9));
      expect(await store.objects.get(object)).toEqual(data);
      expect(await store.objects.read(object, 123_456, 4321)).toEqual(data.subarray(123_456, 123_456 + 4321));
      const target = Buffer.alloc(4321);
      await store.objects.readInto(object, 123_456, target);
      expect(target).toEqual(data.subarray(123_456, 123_456 + 4321));
      await failsWith('InvalidReplicaState', store.objects.read(object, data.length - 10, 11));
      await failsWith('InvalidReplicaState', store.objects.read(`${SCOPE}/missing`, 0, 1));
    });

    test('an upload whose source fails leaves what was there', async () => {
      const store = await (await makeStore()).open();
      const object = `${SCOPE}/applied.json`;
      async function* failing(): AsyncGenerator<Buffer> {
        yield content(64 * KiB, 3);
        throw new CatalogueError('ReadFailed', 'the source');
      }
      await failsWith('ReadFailed', store.objects.upload(object, failing(), NOW));
      expect(await store.objects.get(object)).toBeUndefined();
      await store.objects.put(object, Buffer.from('kept'), NOW);
      await failsWith('ReadFailed', store.objects.upload(object, failing(), NOW));
      expect((await store.objects.get(object))?.toString()).toBe('kept');
      expect(await store.objects.list('')).toEqual([object]);
    });

    test('listing gives the objects below a prefix, sorted, and no page blobs', async () => {
      const store = await (await makeStore()).open();
      const names = ['a/1.json', 'a/2/x.json', 'a/10.json', 'b-1.json', 'b/0.json'].map((rest) => `${SCOPE}/${rest}`);
      for (const object of names.toReversed()) await store.objects.put(object, Buffer.from('x'), NOW);
      await store.objects.put('jobs/job-1.json', Buffer.from('x'), at(0, 0, 'jobs'));
      await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
      await store.pageBlobs.snapshot(BLOB, NOW);
      await store.objects.raiseFence(at(1, 1));
      expect(await store.objects.list('')).toEqual(['jobs/job-1.json', ...names.toSorted()]);
      expect(await store.objects.list(`${SCOPE}/`)).toEqual(names.toSorted());
      expect(await store.objects.list(`${SCOPE}/a/`)).toEqual(names.slice(0, 3).toSorted());
      expect(await store.objects.list(`${SCOPE}/b`)).toEqual([`${SCOPE}/b-1.json`, `${SCOPE}/b/0.json`]);
      expect(await store.objects.list(`${SCOPE}/nothing/`)).toEqual([]);
    });

    test('deleting an object can be repeated, and its name used again', async () => {
      const store = await (await makeStore()).open();
      const object = `${SCOPE}/cycles/0001-00000001/manifest.json`;
      await store.objects.delete(object, NOW);
      await store.objects.put(object, Buffer.from('1'), NOW);
      await store.objects.delete(object, NOW);
      await store.objects.delete(object, NOW);
      expect(await store.objects.get(object)).toBeUndefined();
      expect(await store.objects.list('')).toEqual([]);
      expect(await store.objects.putIfAbsent(object, Buffer.from('2'), NOW)).toBe(true);
    });

    test.each([
      '',
      '.',
      '..',
      '../outside',
      'vms/db-01/../../outside',
      'vms/db-01/..',
      '/etc/passwd',
      'vms//db-01',
      'vms/db-01/',
      'vms/db-01/./x',
      'vms/db-01/a\0b',
      'vms\\db-01\\x',
      'vms/db-01/.fence',
    ])('the name %j is refused everywhere', async (bad) => {
      const store = await (await makeStore()).open();
      await failsWith('InvalidReplicaState', store.objects.put(bad, Buffer.from('x'), NOW));
      await failsWith('InvalidReplicaState', store.objects.putIfAbsent(bad, Buffer.from('x'), NOW));
      await failsWith('InvalidReplicaState', store.objects.upload(bad, chunked(Buffer.from('x'), 1), NOW));
      await failsWith('InvalidReplicaState', store.objects.get(bad));
      await failsWith('InvalidReplicaState', store.objects.read(bad, 0, 1));
      await failsWith('InvalidReplicaState', store.objects.delete(bad, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobs.create(bad, 4096, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobs.size(bad));
      await failsWith('InvalidReplicaState', store.pageBlobs.write(bad, [], NOW));
      await failsWith('InvalidReplicaState', readPages(store.pageBlobs, bad, 0, 1));
      await failsWith('InvalidReplicaState', store.pageBlobs.delete(bad, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobs.snapshot(bad, NOW));
      await failsWith('InvalidReplicaState', store.objects.raiseFence(at(1, 0, bad === 'vms/db-01/' ? '..' : bad)));
    });

    test('a prefix does not lead out of the store either', async () => {
      const store = await (await makeStore()).open();
      await failsWith('InvalidReplicaState', store.objects.list('../'));
      await failsWith('InvalidReplicaState', store.objects.list('vms/../../'));
    });

    test('a write outside the scope of its fence is refused', async () => {
      const store = await (await makeStore()).open();
      await expect(store.objects.put('vms/db-011/x', Buffer.from('x'), NOW)).rejects.toThrow('vms/db-01');
      await expect(store.pageBlobs.create('vms/db-02/x.vhd', 4096, NOW)).rejects.toThrow('vms/db-01');
      await expect(store.objects.delete('vms/db-01', NOW)).rejects.toThrow('vms/db-01');
      expect(await store.objects.list('')).toEqual([]);
    });
  });

  describe(`${name}: page blobs`, () => {
    test('creating one can be repeated with its size, and with no other', async () => {
      const { open } = await makeStore();
      const store = await open();
      expect(await store.pageBlobs.size(BLOB)).toBeUndefined();
      await store.pageBlobs.create(BLOB, 64 * KiB + 512, NOW);
      await store.pageBlobs.write(BLOB, [{ offset: 512, data: content(1024, 1) }], NOW);
      await store.pageBlobs.create(BLOB, 64 * KiB + 512, NOW);
      await failsWith('InvalidReplicaState', store.pageBlobs.create(BLOB, 64 * KiB, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobs.create(`${SCOPE}/odd`, 1000, NOW));
      const other = await open();
      expect(await other.pageBlobs.size(BLOB)).toBe(64 * KiB + 512);
      expect(await readPages(other.pageBlobs, BLOB, 0, 2048)).toEqual(
        Buffer.concat([Buffer.alloc(512), content(1024, 1), Buffer.alloc(512)]),
      );
    });

    test('pages are written and cleared in order, and the last one to write a page wins', async () => {
      const store = await (await makeStore()).open();
      await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
      const writes: PageWrite[] = [
        { offset: 0, data: content(64 * KiB, 1) },
        { offset: 8 * KiB, clear: 16 * KiB },
        { offset: 12 * KiB, data: content(4 * KiB, 2) },
        { offset: 14 * KiB, clear: 512 },
      ];
      const expected = content(64 * KiB, 1);
      expected.fill(0, 8 * KiB, 24 * KiB);
      content(4 * KiB, 2).copy(expected, 12 * KiB);
      expected.fill(0, 14 * KiB, 14 * KiB + 512);
      await store.pageBlobs.write(BLOB, [], NOW);
      await store.pageBlobs.write(BLOB, writes, NOW);
      expect(await readPages(store.pageBlobs, BLOB, 0, 64 * KiB)).toEqual(expected);
      await store.pageBlobs.write(BLOB, writes, NOW);
      expect(await readPages(store.pageBlobs, BLOB, 0, 64 * KiB)).toEqual(expected);
      expect(await readPages(store.pageBlobs, BLOB, 14 * KiB - 100, 700)).toEqual(
        expected.subarray(14 * KiB - 100, 14 * KiB + 600),
      );
    });

    test.each([
      { offset: 100, data: Buffer.alloc(512) },
      { offset: 512, data: Buffer.alloc(100) },
      { offset: 64 * KiB, data: Buffer.alloc(512) },
      { offset: -512, data: Buffer.alloc(512) },
      { offset: 63 * KiB, clear: 2 * KiB },
      { offset: 0, clear: 700 },
    ])('$offset is no place for these pages', async (write) => {
      const store = await (await makeStore()).open();
      await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
      await failsWith(
        'InvalidReplicaState',
        store.pageBlobs.write(BLOB, [{ offset: 0, data: content(512, 1) }, write], NOW),
      );
      expect(await readPages(store.pageBlobs, BLOB, 0, 64 * KiB)).toEqual(Buffer.alloc(64 * KiB));
    });

    test('large aligned pieces, which may pass the page cache by, and others are one content', async () => {
      const store = await (await makeStore()).open();
      const size = 1024 * KiB + 512;
      await store.pageBlobs.create(BLOB, size, NOW);
      const live = Buffer.alloc(size);
      const write = (offset: number, length: number, seed: number, memory: Buffer): PageWrite => {
        const data = memory.subarray(0, length);
        content(length, seed).copy(data);
        data.copy(live, offset);
        return { offset, data };
      };
      const check = async () => {
        expect((await readPages(store.pageBlobs, BLOB, 0, size)).equals(live)).toBe(true);
        for (const [offset, target] of [
          [0, alignedBuffer(1024 * KiB)],
          [512, alignedBuffer(512 * KiB)],
          [64 * KiB, alignedBuffer(300 * KiB + 1).subarray(1)],
          [1024 * KiB - 512, Buffer.alloc(1024)],
        ] as const) {
          await store.pageBlobs.readInto(BLOB, offset, target, { isReadBack: true });
          expect(target.equals(live.subarray(offset, offset + target.length))).toBe(true);
        }
      };
      // In the cache, not aligned, then directly over a part of it, overlapping, then through the cache again.
      await store.pageBlobs.write(BLOB, [write(512, 700 * KiB, 1, Buffer.alloc(700 * KiB))], NOW);
      await check();
      const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
      const then = Buffer.from(live);
      const batch = [
        write(256 * KiB, 512 * KiB, 2, alignedBuffer(512 * KiB)),
        write(320 * KiB, 64 * KiB, 3, alignedBuffer(64 * KiB)),
        write(321 * KiB, 512, 4, Buffer.alloc(512)),
        write(1024 * KiB, 512, 5, alignedBuffer(512)),
      ];
      await store.pageBlobs.write(BLOB, batch, NOW);
      await check();
      await store.pageBlobs.write(BLOB, [write(300 * KiB, 100 * KiB, 6, Buffer.alloc(100 * KiB))], NOW);
      await check();
      expect((await readPages(store.pageBlobs, BLOB, 0, size, snapshot)).equals(then)).toBe(true);
      await failsWith(
        'InvalidReplicaState',
        store.pageBlobs.readInto(BLOB, 1024 * KiB, alignedBuffer(64 * KiB), { isReadBack: true }),
      );
      await failsWith(
        'InvalidReplicaState',
        store.pageBlobs.readInto(`${BLOB}-not`, 0, Buffer.alloc(512), { isReadBack: true }),
      );
    });

    test('what is not there, or ends before, is an invalid replica', async () => {
      const store = await (await makeStore()).open();
      await failsWith(
        'InvalidReplicaState',
        store.pageBlobs.write(BLOB, [{ offset: 0, data: Buffer.alloc(512) }], NOW),
      );
      await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 512));
      await failsWith('InvalidReplicaState', store.pageBlobs.ranges(BLOB, { offset: 0, length: 512 }));
      await failsWith('InvalidReplicaState', store.pageBlobs.snapshot(BLOB, NOW));
      expect(await store.pageBlobs.listSnapshots(BLOB)).toEqual([]);
      await store.pageBlobs.create(BLOB, 4 * KiB, NOW);
      await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 4 * KiB, 1));
      await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, -1, 1));
      await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 512, '2026-01-01T00:00:00.0000000Z'));
    });

    test('page ranges leave out what was never written and what was cleared', async () => {
      const store = await (await makeStore()).open();
      const MiB = KiB * KiB;
      await store.pageBlobs.create(BLOB, 8 * MiB, NOW);
      const whole = { offset: 0, length: 8 * MiB };
      expect(await store.pageBlobs.ranges(BLOB, whole)).toEqual([]);
      await store.pageBlobs.write(BLOB, [{ offset: MiB, data: content(2 * MiB, 1) }], NOW);
      await store.pageBlobs.write(BLOB, [{ offset: 6 * MiB, data: content(4 * KiB, 1) }], NOW);
      const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
      await store.pageBlobs.write(BLOB, [{ offset: 2 * MiB, clear: 2 * MiB }], NOW);
      await store.pageBlobs.write(BLOB, [{ offset: 7 * MiB, data: content(4 * KiB, 1) }], NOW);
      expect(await store.pageBlobs.ranges(BLOB, whole)).toEqual([
        { offset: MiB, length: MiB },
        { offset: 6 * MiB, length: 4 * KiB },
        { offset: 7 * MiB, length: 4 * KiB },
      ]);
      expect(await store.pageBlobs.ranges(BLOB, whole, { snapshot })).toEqual([
        { offset: MiB, length: 2 * MiB },
        { offset: 6 * MiB, length: 4 * KiB },
      ]);
      expect(await store.pageBlobs.ranges(BLOB, { offset: 1.5 * MiB, length: 4.5 * MiB })).toEqual([
        { offset: 1.5 * MiB, length: 0.5 * MiB },
      ]);
    });

    test('one grows, its snapshots keep size and content, and it never shrinks', async () => {
      const { open } = await makeStore();
      const store = await open();
      const [small, large] = [64 * KiB + 512, 256 * KiB + 512];
      await failsWith('InvalidReplicaState', store.pageBlobs.resize(BLOB, small, NOW));
      await store.pageBlobs.create(BLOB, small, NOW);
      await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(small, 1) }], NOW);
      const before = await store.pageBlobs.snapshot(BLOB, NOW);
      await store.pageBlobs.resize(BLOB, large, NOW);
      await store.pageBlobs.resize(BLOB, large, NOW);
      const other = await open();
      expect(await other.pageBlobs.size(BLOB)).toBe(large);
      expect(await other.pageBlobs.size(BLOB, before)).toBe(small);
      const live = Buffer.concat([content(small, 1)], large);
      expect((await readPages(other.pageBlobs, BLOB, 0, large)).equals(live)).toBe(true);
      const after = await store.pageBlobs.snapshot(BLOB, NOW);
      // Across the former end, where the block the footer was in is longer now.
      await store.pageBlobs.write(BLOB, [{ offset: small - 512, data: content(100 * KiB, 2) }], NOW);
      await store.pageBlobs.write(BLOB, [{ offset: large - 512, data: content(512, 3) }], NOW);
      const check = async (of: ReplicaStore) => {
        expect((await readPages(of.pageBlobs, BLOB, 0, small, before)).equals(content(small, 1))).toBe(true);
        expect(await of.pageBlobs.ranges(BLOB, { offset: 0, length: small }, { snapshot: before })).toEqual([
          { offset: 0, length: small },
        ]);
        await failsWith('InvalidReplicaState', readPages(of.pageBlobs, BLOB, small, 512, before));
        expect(await of.pageBlobs.size(BLOB, before)).toBe(small);
      };
      await check(other);
      expect(await other.pageBlobs.size(BLOB, after)).toBe(large);
      expect((await readPages(other.pageBlobs, BLOB, 0, large, after)).equals(live)).toBe(true);
      await store.pageBlobs.deleteSnapshot(BLOB, after, NOW);
      await check(await open());
      content(100 * KiB, 2).copy(live, small - 512);
      content(512, 3).copy(live, large - 512);
      expect((await readPages(store.pageBlobs, BLOB, 0, large)).equals(live)).toBe(true);
      await failsWith('InvalidReplicaState', store.pageBlobs.resize(BLOB, small, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobs.resize(BLOB, large + 100, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobs.size(BLOB, after));
      expect(await store.pageBlobs.size(BLOB)).toBe(large);
    });

    test('deleting one takes its snapshots along, and can be repeated; a new one is empty', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.pageBlobs.delete(BLOB, NOW);
      await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
      const first = await store.pageBlobs.snapshot(BLOB, NOW);
      await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(64 * KiB, 1) }], NOW);
      await store.pageBlobs.delete(BLOB, NOW);
      await store.pageBlobs.delete(BLOB, NOW);
      expect(await store.pageBlobs.size(BLOB)).toBeUndefined();
      expect(await store.pageBlobs.listSnapshots(BLOB)).toEqual([]);
      await store.pageBlobs.create(BLOB, 32 * KiB, NOW);
      expect(await readPages(store.pageBlobs, BLOB, 0, 32 * KiB)).toEqual(Buffer.alloc(32 * KiB));
      expect(await store.pageBlobs.listSnapshots(BLOB)).toEqual([]);
      await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 512, first));
      expect(await store.pageBlobs.snapshot(BLOB, NOW)).not.toBe(first);
    });
  });

  describe(`${name}: snapshots`, () => {
    test('their ids sort by age and are never given twice', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
      const ids: string[] = [];
      for (let i = 0; i < 12; i += 1) ids.push(await store.pageBlobs.snapshot(BLOB, NOW));
      expect(new Set(ids).size).toBe(12);
      expect(ids.toSorted()).toEqual(ids);
      expect(await (await open()).pageBlobs.listSnapshots(BLOB)).toEqual(ids);
      await store.pageBlobs.deleteSnapshot(BLOB, ids[11]!, NOW);
      const next = await store.pageBlobs.snapshot(BLOB, NOW);
      expect(next > ids[11]!).toBe(true);
    });

    test('deleting one can be repeated, and leaves the others what they are', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
      const ids: string[] = [];
      for (let i = 1; i <= 4; i += 1) {
        await store.pageBlobs.write(BLOB, [{ offset: (i % 3) * 8 * KiB, data: content(24 * KiB, i) }], NOW);
        ids.push(await store.pageBlobs.snapshot(BLOB, NOW));
      }
      const kept = await Promise.all(ids.map((id) => readPages(store.pageBlobs, BLOB, 0, 64 * KiB, id)));
      await store.pageBlobs.write(BLOB, [{ offset: 0, clear: 64 * KiB }], NOW);
      for (const gone of [2, 3, 0]) {
        await store.pageBlobs.deleteSnapshot(BLOB, ids[gone]!, NOW);
        await (await open()).pageBlobs.deleteSnapshot(BLOB, ids[gone]!, NOW);
        await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 512, ids[gone]));
        expect(await readPages(store.pageBlobs, BLOB, 0, 64 * KiB, ids[1])).toEqual(kept[1]);
      }
      expect(await store.pageBlobs.listSnapshots(BLOB)).toEqual([ids[1]]);
      await store.pageBlobs.deleteSnapshot(`${SCOPE}/disks/none.vhd`, ids[1]!, NOW);
    });

    test(
      'whatever is written, cleared and deleted: each snapshot stays what it was',
      async () => {
        await fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 24 }), async (steps) => {
            const { open } = await makeStore();
            const history = new History(await open(), open);
            await history.begin();
            for (const next of steps) await history.perform(next);
            await history.check();
          }),
          { numRuns: options.histories ?? 40, endOnFailure: false },
        );
      },
      options.timeout ?? 120_000,
    );
  });

  describe(`${name}: fences`, () => {
    test('a fence rises, never falls, and is seen by all', async () => {
      const { open } = await makeStore();
      const [a, b] = [await open(), await open()];
      const fence = async (): Promise<Fence> => await b.objects.readFence(SCOPE);
      expect(await fence()).toEqual({ epoch: 0, sequence: 0 });
      await a.objects.raiseFence(at(2, 5));
      expect(await fence()).toEqual({ epoch: 2, sequence: 5 });
      // Asked after each: a later one would cover up what an earlier one has lowered.
      for (const notNewer of [at(2, 4), at(1, 9), at(2, 5)]) {
        await a.objects.raiseFence(notNewer);
        expect(await fence()).toEqual({ epoch: 2, sequence: 5 });
      }
      await a.objects.raiseFence(at(3, 0));
      expect(await fence()).toEqual({ epoch: 3, sequence: 0 });
      expect(await b.objects.readFence('vms/db-02')).toEqual({ epoch: 0, sequence: 0 });
      await Promise.all([7, 4, 9, 5].map((epoch) => b.objects.raiseFence(at(epoch, 1))));
      expect(await fence()).toEqual({ epoch: 9, sequence: 1 });
    });

    test.each([
      ['an older epoch', at(1, 9), false],
      ['an older sequence', at(2, 4), false],
      ['the same fence', at(2, 5), true],
      ['a newer sequence', at(2, 6), true],
      ['a newer epoch', at(3, 0), true],
    ])('every write with %s is refused or accepted alike', async (_, fence, accepted) => {
      const { open } = await makeStore();
      const store = await open();
      const object = `${SCOPE}/applied.json`;
      await store.objects.put(object, Buffer.from('before'), at(2, 0));
      await store.pageBlobs.create(BLOB, 64 * KiB, at(2, 0));
      const snapshot = await store.pageBlobs.snapshot(BLOB, at(2, 0));
      await (await open()).objects.raiseFence(at(2, 5));
      const writes: (() => Promise<unknown>)[] = [
        () => store.objects.put(object, Buffer.from('after'), fence),
        () => store.objects.putIfAbsent(`${SCOPE}/new.json`, Buffer.from('after'), fence),
        () => store.objects.upload(`${SCOPE}/uploaded`, chunked(content(1000, 1), 300), fence),
        () => store.pageBlobs.create(`${SCOPE}/disks/new.vhd`, 4096, fence),
        () => store.pageBlobs.write(BLOB, [{ offset: 0, data: content(512, 1) }], fence),
        () => store.pageBlobs.write(BLOB, [{ offset: 0, clear: 512 }], fence),
        () => store.pageBlobs.resize(BLOB, 128 * KiB, fence),
        () => store.pageBlobs.snapshot(BLOB, fence),
        () => store.pageBlobs.deleteSnapshot(BLOB, snapshot, fence),
        () => store.pageBlobs.delete(BLOB, fence),
        () => store.objects.delete(object, fence),
      ];
      for (const write of writes) {
        if (accepted) await write();
        else {
          const error = await failsWith('StaleEpoch', write());
          expect(error.detail).toContain('epoch 2, sequence 5');
          expect(error.detail).toContain(`epoch ${fence.epoch}, sequence ${fence.sequence}`);
        }
      }
      // Carrying a newer fence does not raise it.
      expect(await store.objects.readFence(SCOPE)).toEqual({ epoch: 2, sequence: 5 });
      if (accepted) return;
      expect((await store.objects.get(object))?.toString()).toBe('before');
      expect(await store.objects.list('')).toEqual([object]);
      expect(await store.pageBlobs.size(`${SCOPE}/disks/new.vhd`)).toBeUndefined();
      expect(await store.pageBlobs.listSnapshots(BLOB)).toEqual([snapshot]);
      expect(await readPages(store.pageBlobs, BLOB, 0, 512)).toEqual(Buffer.alloc(512));
      await store.objects.put('vms/db-02/applied.json', Buffer.from('other VM'), at(1, 0, 'vms/db-02'));
    });

    test('an upload that is under way when the fence rises is refused, and nothing of it is seen', async () => {
      const { open } = await makeStore();
      const [late, other] = [await open(), await open()];
      async function* overtaken(): AsyncGenerator<Buffer> {
        yield content(64 * KiB, 1);
        await other.objects.raiseFence(at(2, 0));
        yield content(64 * KiB, 2);
      }
      await failsWith('StaleEpoch', late.objects.upload(`${SCOPE}/os.changes`, overtaken(), at(1, 7)));
      expect(await late.objects.list('')).toEqual([]);
    });

    test('once the fence is raised, nothing that older writers write is seen to land', async () => {
      const { open } = await makeStore();
      const [writer, other] = [await open(), await open()];
      await writer.pageBlobs.create(BLOB, 64 * KiB, NOW);
      let stop = false;
      const lane = async (index: number): Promise<string> => {
        for (let n = 1; !stop; n += 1) {
          try {
            await writer.pageBlobs.write(BLOB, [{ offset: index * 4 * KiB, data: content(4 * KiB, n) }], at(1, n));
          } catch (error) {
            return (error as CatalogueError).code;
          }
        }
        return 'never refused';
      };
      const lanes = [0, 1, 2, 3].map(lane);
      await other.objects.raiseFence(at(2, 0));
      const landed = await readPages(other.pageBlobs, BLOB, 0, 64 * KiB);
      const ends = await Promise.race([
        Promise.all(lanes),
        new Promise<string[]>((resolve) => setTimeout(resolve, 30_000, ['still writing'])),
      ]);
      stop = true;
      expect(ends).toEqual(Array(4).fill('StaleEpoch'));
      expect(await readPages(other.pageBlobs, BLOB, 0, 64 * KiB)).toEqual(landed);
    });
  });
}

type Step =
  | { readonly kind: 'write'; readonly batch: readonly { page: number; pages: number; seed: number }[] }
  | { readonly kind: 'snapshot' }
  | { readonly kind: 'reopen' }
  | { readonly kind: 'grow'; readonly pages: number }
  | { readonly kind: 'delete'; readonly pick: number };

/** Pages of 512 bytes; not a multiple of any block a store may work with, as a VHD with its footer isn't. */
const PAGES = 8 * 24 + 1;
const SIZE = PAGES * 512;

/** `seed` 0 clears. */
const piece = fc
  .record({ page: fc.nat(PAGES - 1), pages: fc.integer({ min: 1, max: 40 }), seed: fc.nat(12) })
  .map(({ page, pages, seed }) => ({ page, pages: Math.min(pages, PAGES - page), seed: seed < 3 ? 0 : seed }));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.array(piece, { minLength: 1, maxLength: 4 }).map((batch) => ({ kind: 'write' as const, batch })),
  },
  { weight: 3, arbitrary: fc.constant({ kind: 'snapshot' as const }) },
  { weight: 2, arbitrary: fc.nat(20).map((pick) => ({ kind: 'delete' as const, pick })) },
  { weight: 1, arbitrary: fc.constant({ kind: 'reopen' as const }) },
  { weight: 2, arbitrary: fc.nat(40).map((pages) => ({ kind: 'grow' as const, pages })) },
);

/** A store and what it should hold. */
class History {
  #live = Buffer.alloc(SIZE);
  readonly #snapshots = new Map<string, Buffer>();
  #writes = 0;

  constructor(
    private store: ReplicaStore,
    private readonly open: () => Promise<ReplicaStore>,
  ) {}

  async begin(): Promise<void> {
    await this.store.pageBlobs.create(BLOB, SIZE, NOW);
  }

  async perform(next: Step): Promise<void> {
    if (next.kind === 'reopen') {
      await this.store.close();
      this.store = await this.open();
    } else if (next.kind === 'snapshot') {
      this.#snapshots.set(await this.store.pageBlobs.snapshot(BLOB, NOW), Buffer.from(this.#live));
    } else if (next.kind === 'grow') {
      const size = this.#live.length + next.pages * 512;
      await this.store.pageBlobs.resize(BLOB, size, NOW);
      this.#live = Buffer.concat([this.#live], size);
      await this.check();
    } else if (next.kind === 'delete') {
      const id = [...this.#snapshots.keys()][next.pick % Math.max(1, this.#snapshots.size)];
      if (id === undefined) return;
      await this.store.pageBlobs.deleteSnapshot(BLOB, id, NOW);
      this.#snapshots.delete(id);
      await this.check();
    } else
      await this.store.pageBlobs.write(
        BLOB,
        next.batch.map((part) => this.#write(part)),
        NOW,
      );
  }

  /** Places are counted from the end as often as from the beginning, so that what has grown is written, too. */
  #write({ page, pages, seed }: { page: number; pages: number; seed: number }): PageWrite {
    const from = seed % 2 === 0 ? 0 : this.#live.length - SIZE;
    const [offset, length] = [from + page * 512, pages * 512];
    this.#live.fill(0, offset, offset + length);
    if (seed === 0) return { offset, clear: length };
    const data = content(length, seed + 13 * (this.#writes += 1));
    data.copy(this.#live, offset);
    return { offset, data };
  }

  async check(): Promise<void> {
    expect(await this.store.pageBlobs.listSnapshots(BLOB)).toEqual([...this.#snapshots.keys()]);
    await this.#checkContent(this.#live, undefined);
    for (const [id, held] of this.#snapshots) await this.#checkContent(held, id);
  }

  async #checkContent(expected: Buffer, snapshot: string | undefined): Promise<void> {
    const size = expected.length;
    expect(await this.store.pageBlobs.size(BLOB, snapshot)).toBe(size);
    const found = await readPages(this.store.pageBlobs, BLOB, 0, size, snapshot);
    expect(firstDifference(found, expected), `first byte that differs, snapshot ${snapshot}`).toBeUndefined();
    const part = await readPages(this.store.pageBlobs, BLOB, 5000, 9000, snapshot);
    expect(part.equals(expected.subarray(5000, 14_000))).toBe(true);
    const ranges = await this.store.pageBlobs.ranges(BLOB, { offset: 0, length: size }, { snapshot });
    expect(firstDifference(onlyIn(ranges, expected), expected), 'first byte that no range covers').toBeUndefined();
    expect(ranges.every((range, i) => i === 0 || end(ranges[i - 1]!) <= range.offset)).toBe(true);
  }
}

function firstDifference(a: Buffer, b: Buffer): number | undefined {
  if (a.equals(b)) return undefined;
  return a.findIndex((byte, index) => byte !== b[index]);
}

function onlyIn(ranges: readonly Range[], data: Buffer): Buffer {
  const kept = Buffer.alloc(data.length);
  for (const range of ranges) data.copy(kept, range.offset, range.offset, end(range));
  return kept;
}
