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
import type { PageWrite, ReplicaStore, WriteFence } from '../../ports/replica-store.js';

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
      expect(await store.getObject(`${SCOPE}/description.json`)).toBeUndefined();
      await store.putObject(`${SCOPE}/description.json`, Buffer.from('first, and longer'), NOW);
      await store.putObject(`${SCOPE}/description.json`, Buffer.from('second'), NOW);
      await store.putObject(`${SCOPE}/empty`, Buffer.alloc(0), NOW);
      await store.close();
      const again = await open();
      expect((await again.getObject(`${SCOPE}/description.json`))?.toString()).toBe('second');
      expect(await again.getObject(`${SCOPE}/empty`)).toEqual(Buffer.alloc(0));
    });

    test('of several who put an object if it is absent, exactly one does', async () => {
      const { open } = await makeStore();
      const stores = await Promise.all([open(), open(), open()]);
      for (let round = 0; round < 5; round += 1) {
        const object = `${SCOPE}/points/${round}.json`;
        const tries = [0, 1, 2, 3, 4, 5];
        const won = await Promise.all(
          tries.map((t) => stores[t % 3]!.putObjectIfAbsent(object, Buffer.from(`by ${t}`), NOW)),
        );
        expect(won.filter(Boolean)).toHaveLength(1);
        expect((await stores[0]!.getObject(object))?.toString()).toBe(`by ${won.indexOf(true)}`);
        expect(await stores[1]!.putObjectIfAbsent(object, Buffer.from('late'), NOW)).toBe(false);
        expect((await stores[2]!.getObject(object))?.toString()).toBe(`by ${won.indexOf(true)}`);
      }
    });

    test('an upload is seen when it is whole, and a part of it can be read', async () => {
      const store = await (await makeStore()).open();
      const object = `${SCOPE}/cycles/0001-00000001/os.changes`;
      const data = content(300 * KiB + 77, 1);
      await store.uploadObject(object, chunked(content(1000, 9), 100), NOW);
      let seenMeanwhile: Buffer | undefined;
      async function* watched(): AsyncGenerator<Buffer> {
        yield data.subarray(0, 200 * KiB);
        seenMeanwhile = await store.getObject(object);
        yield data.subarray(200 * KiB);
      }
      await store.uploadObject(object, watched(), NOW);
      expect(seenMeanwhile).toEqual(content(1000, 9));
      expect(await store.getObject(object)).toEqual(data);
      expect(await store.readObject(object, 123_456, 4321)).toEqual(data.subarray(123_456, 123_456 + 4321));
      const target = Buffer.alloc(4321);
      await store.readObjectInto(object, 123_456, target);
      expect(target).toEqual(data.subarray(123_456, 123_456 + 4321));
      await failsWith('InvalidReplicaState', store.readObject(object, data.length - 10, 11));
      await failsWith('InvalidReplicaState', store.readObject(`${SCOPE}/missing`, 0, 1));
    });

    test('an upload whose source fails leaves what was there', async () => {
      const store = await (await makeStore()).open();
      const object = `${SCOPE}/applied.json`;
      async function* failing(): AsyncGenerator<Buffer> {
        yield content(64 * KiB, 3);
        throw new CatalogueError('ReadFailed', 'the source');
      }
      await failsWith('ReadFailed', store.uploadObject(object, failing(), NOW));
      expect(await store.getObject(object)).toBeUndefined();
      await store.putObject(object, Buffer.from('kept'), NOW);
      await failsWith('ReadFailed', store.uploadObject(object, failing(), NOW));
      expect((await store.getObject(object))?.toString()).toBe('kept');
      expect(await store.listObjects('')).toEqual([object]);
    });

    test('listing gives the objects below a prefix, sorted, and no page blobs', async () => {
      const store = await (await makeStore()).open();
      const names = ['a/1.json', 'a/2/x.json', 'a/10.json', 'b-1.json', 'b/0.json'].map((rest) => `${SCOPE}/${rest}`);
      for (const object of names.toReversed()) await store.putObject(object, Buffer.from('x'), NOW);
      await store.putObject('jobs/job-1.json', Buffer.from('x'), at(0, 0, 'jobs'));
      await store.createPageBlob(BLOB, 64 * KiB, NOW);
      await store.snapshotPageBlob(BLOB, NOW);
      await store.raiseFence(at(1, 1));
      expect(await store.listObjects('')).toEqual(['jobs/job-1.json', ...names.toSorted()]);
      expect(await store.listObjects(`${SCOPE}/`)).toEqual(names.toSorted());
      expect(await store.listObjects(`${SCOPE}/a/`)).toEqual(names.slice(0, 3).toSorted());
      expect(await store.listObjects(`${SCOPE}/b`)).toEqual([`${SCOPE}/b-1.json`, `${SCOPE}/b/0.json`]);
      expect(await store.listObjects(`${SCOPE}/nothing/`)).toEqual([]);
    });

    test('deleting an object can be repeated, and its name used again', async () => {
      const store = await (await makeStore()).open();
      const object = `${SCOPE}/cycles/0001-00000001/manifest.json`;
      await store.deleteObject(object, NOW);
      await store.putObject(object, Buffer.from('1'), NOW);
      await store.deleteObject(object, NOW);
      await store.deleteObject(object, NOW);
      expect(await store.getObject(object)).toBeUndefined();
      expect(await store.listObjects('')).toEqual([]);
      expect(await store.putObjectIfAbsent(object, Buffer.from('2'), NOW)).toBe(true);
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
      await failsWith('InvalidReplicaState', store.putObject(bad, Buffer.from('x'), NOW));
      await failsWith('InvalidReplicaState', store.putObjectIfAbsent(bad, Buffer.from('x'), NOW));
      await failsWith('InvalidReplicaState', store.uploadObject(bad, chunked(Buffer.from('x'), 1), NOW));
      await failsWith('InvalidReplicaState', store.getObject(bad));
      await failsWith('InvalidReplicaState', store.readObject(bad, 0, 1));
      await failsWith('InvalidReplicaState', store.deleteObject(bad, NOW));
      await failsWith('InvalidReplicaState', store.createPageBlob(bad, 4096, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobSize(bad));
      await failsWith('InvalidReplicaState', store.writePages(bad, [], NOW));
      await failsWith('InvalidReplicaState', store.readPages(bad, 0, 1));
      await failsWith('InvalidReplicaState', store.deletePageBlob(bad, NOW));
      await failsWith('InvalidReplicaState', store.snapshotPageBlob(bad, NOW));
      await failsWith('InvalidReplicaState', store.raiseFence(at(1, 0, bad === 'vms/db-01/' ? '..' : bad)));
    });

    test('a prefix does not lead out of the store either', async () => {
      const store = await (await makeStore()).open();
      await failsWith('InvalidReplicaState', store.listObjects('../'));
      await failsWith('InvalidReplicaState', store.listObjects('vms/../../'));
    });

    test('a write outside the scope of its fence is refused', async () => {
      const store = await (await makeStore()).open();
      await expect(store.putObject('vms/db-011/x', Buffer.from('x'), NOW)).rejects.toThrow('vms/db-01');
      await expect(store.createPageBlob('vms/db-02/x.vhd', 4096, NOW)).rejects.toThrow('vms/db-01');
      await expect(store.deleteObject('vms/db-01', NOW)).rejects.toThrow('vms/db-01');
      expect(await store.listObjects('')).toEqual([]);
    });
  });

  describe(`${name}: page blobs`, () => {
    test('creating one can be repeated with its size, and with no other', async () => {
      const { open } = await makeStore();
      const store = await open();
      expect(await store.pageBlobSize(BLOB)).toBeUndefined();
      await store.createPageBlob(BLOB, 64 * KiB + 512, NOW);
      await store.writePages(BLOB, [{ offset: 512, data: content(1024, 1) }], NOW);
      await store.createPageBlob(BLOB, 64 * KiB + 512, NOW);
      await failsWith('InvalidReplicaState', store.createPageBlob(BLOB, 64 * KiB, NOW));
      await failsWith('InvalidReplicaState', store.createPageBlob(`${SCOPE}/odd`, 1000, NOW));
      const other = await open();
      expect(await other.pageBlobSize(BLOB)).toBe(64 * KiB + 512);
      expect(await other.readPages(BLOB, 0, 2048)).toEqual(
        Buffer.concat([Buffer.alloc(512), content(1024, 1), Buffer.alloc(512)]),
      );
    });

    test('pages are written and cleared in order, and the last one to write a page wins', async () => {
      const store = await (await makeStore()).open();
      await store.createPageBlob(BLOB, 64 * KiB, NOW);
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
      await store.writePages(BLOB, [], NOW);
      await store.writePages(BLOB, writes, NOW);
      expect(await store.readPages(BLOB, 0, 64 * KiB)).toEqual(expected);
      await store.writePages(BLOB, writes, NOW);
      expect(await store.readPages(BLOB, 0, 64 * KiB)).toEqual(expected);
      expect(await store.readPages(BLOB, 14 * KiB - 100, 700)).toEqual(
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
      await store.createPageBlob(BLOB, 64 * KiB, NOW);
      await failsWith(
        'InvalidReplicaState',
        store.writePages(BLOB, [{ offset: 0, data: content(512, 1) }, write], NOW),
      );
      expect(await store.readPages(BLOB, 0, 64 * KiB)).toEqual(Buffer.alloc(64 * KiB));
    });

    test('large aligned pieces, which may pass the page cache by, and others are one content', async () => {
      const store = await (await makeStore()).open();
      const size = 1024 * KiB + 512;
      await store.createPageBlob(BLOB, size, NOW);
      const live = Buffer.alloc(size);
      const write = (offset: number, length: number, seed: number, memory: Buffer): PageWrite => {
        const data = memory.subarray(0, length);
        content(length, seed).copy(data);
        data.copy(live, offset);
        return { offset, data };
      };
      const check = async () => {
        expect((await store.readPages(BLOB, 0, size)).equals(live)).toBe(true);
        for (const [offset, target] of [
          [0, alignedBuffer(1024 * KiB)],
          [512, alignedBuffer(512 * KiB)],
          [64 * KiB, alignedBuffer(300 * KiB + 1).subarray(1)],
          [1024 * KiB - 512, Buffer.alloc(1024)],
        ] as const) {
          await store.readPagesInto(BLOB, offset, target);
          expect(target.equals(live.subarray(offset, offset + target.length))).toBe(true);
        }
      };
      // In the cache, not aligned, then directly over a part of it, overlapping, then through the cache again.
      await store.writePages(BLOB, [write(512, 700 * KiB, 1, Buffer.alloc(700 * KiB))], NOW);
      await check();
      const snapshot = await store.snapshotPageBlob(BLOB, NOW);
      const then = Buffer.from(live);
      const batch = [
        write(256 * KiB, 512 * KiB, 2, alignedBuffer(512 * KiB)),
        write(320 * KiB, 64 * KiB, 3, alignedBuffer(64 * KiB)),
        write(321 * KiB, 512, 4, Buffer.alloc(512)),
        write(1024 * KiB, 512, 5, alignedBuffer(512)),
      ];
      await store.writePages(BLOB, batch, NOW);
      await check();
      await store.writePages(BLOB, [write(300 * KiB, 100 * KiB, 6, Buffer.alloc(100 * KiB))], NOW);
      await check();
      expect((await store.readPages(BLOB, 0, size, snapshot)).equals(then)).toBe(true);
      await failsWith('InvalidReplicaState', store.readPagesInto(BLOB, 1024 * KiB, alignedBuffer(64 * KiB)));
      await failsWith('InvalidReplicaState', store.readPagesInto(`${BLOB}-not`, 0, Buffer.alloc(512)));
    });

    test('what is not there, or ends before, is an invalid replica', async () => {
      const store = await (await makeStore()).open();
      await failsWith('InvalidReplicaState', store.writePages(BLOB, [{ offset: 0, data: Buffer.alloc(512) }], NOW));
      await failsWith('InvalidReplicaState', store.readPages(BLOB, 0, 512));
      await failsWith('InvalidReplicaState', store.listPageRanges(BLOB, { offset: 0, length: 512 }));
      await failsWith('InvalidReplicaState', store.snapshotPageBlob(BLOB, NOW));
      expect(await store.listSnapshots(BLOB)).toEqual([]);
      await store.createPageBlob(BLOB, 4 * KiB, NOW);
      await failsWith('InvalidReplicaState', store.readPages(BLOB, 4 * KiB, 1));
      await failsWith('InvalidReplicaState', store.readPages(BLOB, -1, 1));
      await failsWith('InvalidReplicaState', store.readPages(BLOB, 0, 512, '2026-01-01T00:00:00.0000000Z'));
    });

    test('page ranges leave out what was never written and what was cleared', async () => {
      const store = await (await makeStore()).open();
      const MiB = KiB * KiB;
      await store.createPageBlob(BLOB, 8 * MiB, NOW);
      const whole = { offset: 0, length: 8 * MiB };
      expect(await store.listPageRanges(BLOB, whole)).toEqual([]);
      await store.writePages(BLOB, [{ offset: MiB, data: content(2 * MiB, 1) }], NOW);
      await store.writePages(BLOB, [{ offset: 6 * MiB, data: content(4 * KiB, 1) }], NOW);
      const snapshot = await store.snapshotPageBlob(BLOB, NOW);
      await store.writePages(BLOB, [{ offset: 2 * MiB, clear: 2 * MiB }], NOW);
      await store.writePages(BLOB, [{ offset: 7 * MiB, data: content(4 * KiB, 1) }], NOW);
      expect(await store.listPageRanges(BLOB, whole)).toEqual([
        { offset: MiB, length: MiB },
        { offset: 6 * MiB, length: 4 * KiB },
        { offset: 7 * MiB, length: 4 * KiB },
      ]);
      expect(await store.listPageRanges(BLOB, whole, snapshot)).toEqual([
        { offset: MiB, length: 2 * MiB },
        { offset: 6 * MiB, length: 4 * KiB },
      ]);
      expect(await store.listPageRanges(BLOB, { offset: 1.5 * MiB, length: 4.5 * MiB })).toEqual([
        { offset: 1.5 * MiB, length: 0.5 * MiB },
      ]);
    });

    test('one grows, its snapshots keep size and content, and it never shrinks', async () => {
      const { open } = await makeStore();
      const store = await open();
      const [small, large] = [64 * KiB + 512, 256 * KiB + 512];
      await failsWith('InvalidReplicaState', store.resizePageBlob(BLOB, small, NOW));
      await store.createPageBlob(BLOB, small, NOW);
      await store.writePages(BLOB, [{ offset: 0, data: content(small, 1) }], NOW);
      const before = await store.snapshotPageBlob(BLOB, NOW);
      await store.resizePageBlob(BLOB, large, NOW);
      await store.resizePageBlob(BLOB, large, NOW);
      const other = await open();
      expect(await other.pageBlobSize(BLOB)).toBe(large);
      expect(await other.pageBlobSize(BLOB, before)).toBe(small);
      const live = Buffer.concat([content(small, 1)], large);
      expect((await other.readPages(BLOB, 0, large)).equals(live)).toBe(true);
      const after = await store.snapshotPageBlob(BLOB, NOW);
      // Across the former end, where the block the footer was in is longer now.
      await store.writePages(BLOB, [{ offset: small - 512, data: content(100 * KiB, 2) }], NOW);
      await store.writePages(BLOB, [{ offset: large - 512, data: content(512, 3) }], NOW);
      const check = async (of: ReplicaStore) => {
        expect((await of.readPages(BLOB, 0, small, before)).equals(content(small, 1))).toBe(true);
        expect(await of.listPageRanges(BLOB, { offset: 0, length: small }, before)).toEqual([
          { offset: 0, length: small },
        ]);
        await failsWith('InvalidReplicaState', of.readPages(BLOB, small, 512, before));
        expect(await of.pageBlobSize(BLOB, before)).toBe(small);
      };
      await check(other);
      expect(await other.pageBlobSize(BLOB, after)).toBe(large);
      expect((await other.readPages(BLOB, 0, large, after)).equals(live)).toBe(true);
      await store.deleteSnapshot(BLOB, after, NOW);
      await check(await open());
      content(100 * KiB, 2).copy(live, small - 512);
      content(512, 3).copy(live, large - 512);
      expect((await store.readPages(BLOB, 0, large)).equals(live)).toBe(true);
      await failsWith('InvalidReplicaState', store.resizePageBlob(BLOB, small, NOW));
      await failsWith('InvalidReplicaState', store.resizePageBlob(BLOB, large + 100, NOW));
      await failsWith('InvalidReplicaState', store.pageBlobSize(BLOB, after));
      expect(await store.pageBlobSize(BLOB)).toBe(large);
    });

    test('deleting one takes its snapshots along, and can be repeated; a new one is empty', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.deletePageBlob(BLOB, NOW);
      await store.createPageBlob(BLOB, 64 * KiB, NOW);
      const first = await store.snapshotPageBlob(BLOB, NOW);
      await store.writePages(BLOB, [{ offset: 0, data: content(64 * KiB, 1) }], NOW);
      await store.deletePageBlob(BLOB, NOW);
      await store.deletePageBlob(BLOB, NOW);
      expect(await store.pageBlobSize(BLOB)).toBeUndefined();
      expect(await store.listSnapshots(BLOB)).toEqual([]);
      await store.createPageBlob(BLOB, 32 * KiB, NOW);
      expect(await store.readPages(BLOB, 0, 32 * KiB)).toEqual(Buffer.alloc(32 * KiB));
      expect(await store.listSnapshots(BLOB)).toEqual([]);
      await failsWith('InvalidReplicaState', store.readPages(BLOB, 0, 512, first));
      expect(await store.snapshotPageBlob(BLOB, NOW)).not.toBe(first);
    });
  });

  describe(`${name}: snapshots`, () => {
    test('their ids sort by age and are never given twice', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.createPageBlob(BLOB, 64 * KiB, NOW);
      const ids: string[] = [];
      for (let i = 0; i < 12; i += 1) ids.push(await store.snapshotPageBlob(BLOB, NOW));
      expect(new Set(ids).size).toBe(12);
      expect(ids.toSorted()).toEqual(ids);
      expect(await (await open()).listSnapshots(BLOB)).toEqual(ids);
      await store.deleteSnapshot(BLOB, ids[11]!, NOW);
      const next = await store.snapshotPageBlob(BLOB, NOW);
      expect(next > ids[11]!).toBe(true);
    });

    test('deleting one can be repeated, and leaves the others what they are', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.createPageBlob(BLOB, 64 * KiB, NOW);
      const ids: string[] = [];
      for (let i = 1; i <= 4; i += 1) {
        await store.writePages(BLOB, [{ offset: (i % 3) * 8 * KiB, data: content(24 * KiB, i) }], NOW);
        ids.push(await store.snapshotPageBlob(BLOB, NOW));
      }
      const kept = await Promise.all(ids.map((id) => store.readPages(BLOB, 0, 64 * KiB, id)));
      await store.writePages(BLOB, [{ offset: 0, clear: 64 * KiB }], NOW);
      for (const gone of [2, 3, 0]) {
        await store.deleteSnapshot(BLOB, ids[gone]!, NOW);
        await (await open()).deleteSnapshot(BLOB, ids[gone]!, NOW);
        await failsWith('InvalidReplicaState', store.readPages(BLOB, 0, 512, ids[gone]));
        expect(await store.readPages(BLOB, 0, 64 * KiB, ids[1])).toEqual(kept[1]);
      }
      expect(await store.listSnapshots(BLOB)).toEqual([ids[1]]);
      await store.deleteSnapshot(`${SCOPE}/disks/none.vhd`, ids[1]!, NOW);
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
      const fence = async (): Promise<Fence> => await b.readFence(SCOPE);
      expect(await fence()).toEqual({ epoch: 0, sequence: 0 });
      await a.raiseFence(at(2, 5));
      expect(await fence()).toEqual({ epoch: 2, sequence: 5 });
      // Asked after each: a later one would cover up what an earlier one has lowered.
      for (const notNewer of [at(2, 4), at(1, 9), at(2, 5)]) {
        await a.raiseFence(notNewer);
        expect(await fence()).toEqual({ epoch: 2, sequence: 5 });
      }
      await a.raiseFence(at(3, 0));
      expect(await fence()).toEqual({ epoch: 3, sequence: 0 });
      expect(await b.readFence('vms/db-02')).toEqual({ epoch: 0, sequence: 0 });
      await Promise.all([7, 4, 9, 5].map((epoch) => b.raiseFence(at(epoch, 1))));
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
      await store.putObject(object, Buffer.from('before'), at(2, 0));
      await store.createPageBlob(BLOB, 64 * KiB, at(2, 0));
      const snapshot = await store.snapshotPageBlob(BLOB, at(2, 0));
      await (await open()).raiseFence(at(2, 5));
      const writes: (() => Promise<unknown>)[] = [
        () => store.putObject(object, Buffer.from('after'), fence),
        () => store.putObjectIfAbsent(`${SCOPE}/new.json`, Buffer.from('after'), fence),
        () => store.uploadObject(`${SCOPE}/uploaded`, chunked(content(1000, 1), 300), fence),
        () => store.createPageBlob(`${SCOPE}/disks/new.vhd`, 4096, fence),
        () => store.writePages(BLOB, [{ offset: 0, data: content(512, 1) }], fence),
        () => store.writePages(BLOB, [{ offset: 0, clear: 512 }], fence),
        () => store.resizePageBlob(BLOB, 128 * KiB, fence),
        () => store.snapshotPageBlob(BLOB, fence),
        () => store.deleteSnapshot(BLOB, snapshot, fence),
        () => store.deletePageBlob(BLOB, fence),
        () => store.deleteObject(object, fence),
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
      expect(await store.readFence(SCOPE)).toEqual({ epoch: 2, sequence: 5 });
      if (accepted) return;
      expect((await store.getObject(object))?.toString()).toBe('before');
      expect(await store.listObjects('')).toEqual([object]);
      expect(await store.pageBlobSize(`${SCOPE}/disks/new.vhd`)).toBeUndefined();
      expect(await store.listSnapshots(BLOB)).toEqual([snapshot]);
      expect(await store.readPages(BLOB, 0, 512)).toEqual(Buffer.alloc(512));
      await store.putObject('vms/db-02/applied.json', Buffer.from('other VM'), at(1, 0, 'vms/db-02'));
    });

    test('an upload that is under way when the fence rises is refused, and nothing of it is seen', async () => {
      const { open } = await makeStore();
      const [late, other] = [await open(), await open()];
      async function* overtaken(): AsyncGenerator<Buffer> {
        yield content(64 * KiB, 1);
        await other.raiseFence(at(2, 0));
        yield content(64 * KiB, 2);
      }
      await failsWith('StaleEpoch', late.uploadObject(`${SCOPE}/os.changes`, overtaken(), at(1, 7)));
      expect(await late.listObjects('')).toEqual([]);
    });

    test('once the fence is raised, nothing that older writers write is seen to land', async () => {
      const { open } = await makeStore();
      const [writer, other] = [await open(), await open()];
      await writer.createPageBlob(BLOB, 64 * KiB, NOW);
      let stop = false;
      const lane = async (index: number): Promise<string> => {
        for (let n = 1; !stop; n += 1) {
          try {
            await writer.writePages(BLOB, [{ offset: index * 4 * KiB, data: content(4 * KiB, n) }], at(1, n));
          } catch (error) {
            return (error as CatalogueError).code;
          }
        }
        return 'never refused';
      };
      const lanes = [0, 1, 2, 3].map(lane);
      await other.raiseFence(at(2, 0));
      const landed = await other.readPages(BLOB, 0, 64 * KiB);
      const ends = await Promise.race([
        Promise.all(lanes),
        new Promise<string[]>((resolve) => setTimeout(resolve, 30_000, ['still writing'])),
      ]);
      stop = true;
      expect(ends).toEqual(Array(4).fill('StaleEpoch'));
      expect(await other.readPages(BLOB, 0, 64 * KiB)).toEqual(landed);
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
    await this.store.createPageBlob(BLOB, SIZE, NOW);
  }

  async perform(next: Step): Promise<void> {
    if (next.kind === 'reopen') {
      await this.store.close();
      this.store = await this.open();
    } else if (next.kind === 'snapshot') {
      this.#snapshots.set(await this.store.snapshotPageBlob(BLOB, NOW), Buffer.from(this.#live));
    } else if (next.kind === 'grow') {
      const size = this.#live.length + next.pages * 512;
      await this.store.resizePageBlob(BLOB, size, NOW);
      this.#live = Buffer.concat([this.#live], size);
      await this.check();
    } else if (next.kind === 'delete') {
      const id = [...this.#snapshots.keys()][next.pick % Math.max(1, this.#snapshots.size)];
      if (id === undefined) return;
      await this.store.deleteSnapshot(BLOB, id, NOW);
      this.#snapshots.delete(id);
      await this.check();
    } else
      await this.store.writePages(
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
    expect(await this.store.listSnapshots(BLOB)).toEqual([...this.#snapshots.keys()]);
    await this.#checkContent(this.#live, undefined);
    for (const [id, held] of this.#snapshots) await this.#checkContent(held, id);
  }

  async #checkContent(expected: Buffer, snapshot: string | undefined): Promise<void> {
    const size = expected.length;
    expect(await this.store.pageBlobSize(BLOB, snapshot)).toBe(size);
    const found = await this.store.readPages(BLOB, 0, size, snapshot);
    expect(firstDifference(found, expected), `first byte that differs, snapshot ${snapshot}`).toBeUndefined();
    const part = await this.store.readPages(BLOB, 5000, 9000, snapshot);
    expect(part.equals(expected.subarray(5000, 14_000))).toBe(true);
    const ranges = await this.store.listPageRanges(BLOB, { offset: 0, length: size }, snapshot);
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
