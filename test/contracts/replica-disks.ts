/**
 * What the replica disks of every store promise, whatever they are made of. Each adapter's tests call this with a way to make
 * an empty store and to open it any number of times, as several processes would.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alignedBuffer } from '../../disks/direct-io.js';
import type { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import { end, type Range } from '../../domain/ranges.js';
import type { DiskAddress, DiskWrite, ReplicaDisks } from '../../ports/replica-disks.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { readDisk, writeDisk } from '../support/replica-disks.js';
import { besideFence, type StoreUnderTest } from './store-under-test.js';

export interface ContractOptions {
  /** Number of random histories; fewer where the store is slow. */
  readonly histories?: number;
  /** Milliseconds for the random histories together. */
  readonly timeout?: number;
}

const DISK: DiskAddress = { vm: 'db-01', disk: 'os' };
/** Of the fence of the VM. */
const SCOPE = 'vms/db-01';
const at = (epoch: number, sequence: number): Fence => ({ epoch, sequence });
const NOW = at(1, 0);
const KiB = 1024;

async function readBack(disks: ReplicaDisks, disk: DiskAddress, offset: number, target: Buffer): Promise<void> {
  await (await disks.openReadOnly(disk)).readUncached(target, offset);
}

const rangesOf = async (disks: ReplicaDisks, range: Range, snapshot?: string): Promise<Range[]> =>
  await (await disks.openReadOnly(DISK, snapshot)).dataRanges(range);

export function replicaDisksContract(
  name: string,
  makeStore: () => Promise<StoreUnderTest>,
  options: ContractOptions = {},
): void {
  describe(`${name}: replica disks`, () => {
    test('creating a disk can be repeated with the same size, but not with another', async () => {
      const { open } = await makeStore();
      const store = await open();
      expect(await store.disks.size(DISK)).toBeUndefined();
      await store.disks.create(DISK, 64 * KiB + 512, NOW);
      await writeDisk(store.disks, DISK, [{ offset: 512, data: content(1024, 1) }], NOW);
      await store.disks.create(DISK, 64 * KiB + 512, NOW);
      await failsWith('InvalidReplicaState', store.disks.create(DISK, 64 * KiB, NOW));
      await failsWith('InvalidReplicaState', store.disks.create({ ...DISK, disk: 'odd' }, 1000, NOW));
      const other = await open();
      expect(await other.disks.size(DISK)).toBe(64 * KiB + 512);
      expect(await readDisk(other.disks, DISK, 0, 2048)).toEqual(
        Buffer.concat([Buffer.alloc(512), content(1024, 1), Buffer.alloc(512)]),
      );
    });

    test('pages are written and cleared in order, and the last one to write a page wins', async () => {
      const store = await (await makeStore()).open();
      await store.disks.create(DISK, 64 * KiB, NOW);
      const writes: DiskWrite[] = [
        { offset: 0, data: content(64 * KiB, 1) },
        { offset: 8 * KiB, clear: 16 * KiB },
        { offset: 12 * KiB, data: content(4 * KiB, 2) },
        { offset: 14 * KiB, clear: 512 },
      ];
      const expected = content(64 * KiB, 1);
      expected.fill(0, 8 * KiB, 24 * KiB);
      content(4 * KiB, 2).copy(expected, 12 * KiB);
      expected.fill(0, 14 * KiB, 14 * KiB + 512);
      await writeDisk(store.disks, DISK, [], NOW);
      await writeDisk(store.disks, DISK, writes, NOW);
      expect(await readDisk(store.disks, DISK, 0, 64 * KiB)).toEqual(expected);
      await writeDisk(store.disks, DISK, writes, NOW);
      expect(await readDisk(store.disks, DISK, 0, 64 * KiB)).toEqual(expected);
      expect(await readDisk(store.disks, DISK, 14 * KiB - 100, 700)).toEqual(
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
    ])('pages at $offset are refused', async (write) => {
      const store = await (await makeStore()).open();
      await store.disks.create(DISK, 64 * KiB, NOW);
      await failsWith(
        'InvalidReplicaState',
        writeDisk(store.disks, DISK, [{ offset: 0, data: content(512, 1) }, write], NOW),
      );
      expect(await readDisk(store.disks, DISK, 0, 64 * KiB)).toEqual(Buffer.alloc(64 * KiB));
    });

    test('large aligned writes, which may bypass the page cache, and other writes give one consistent content', async () => {
      const store = await (await makeStore()).open();
      const size = 1024 * KiB + 512;
      await store.disks.create(DISK, size, NOW);
      const live = Buffer.alloc(size);
      const write = (offset: number, length: number, seed: number, memory: Buffer): DiskWrite => {
        const data = memory.subarray(0, length);
        content(length, seed).copy(data);
        data.copy(live, offset);
        return { offset, data };
      };
      const check = async () => {
        expect((await readDisk(store.disks, DISK, 0, size)).equals(live)).toBe(true);
        for (const [offset, target] of [
          [0, alignedBuffer(1024 * KiB)],
          [512, alignedBuffer(512 * KiB)],
          [64 * KiB, alignedBuffer(300 * KiB + 1).subarray(1)],
          [1024 * KiB - 512, Buffer.alloc(1024)],
        ] as const) {
          await readBack(store.disks, DISK, offset, target);
          expect(target.equals(live.subarray(offset, offset + target.length))).toBe(true);
        }
      };
      // In the cache, not aligned, then directly over a part of it, overlapping, then through the cache again.
      await writeDisk(store.disks, DISK, [write(512, 700 * KiB, 1, Buffer.alloc(700 * KiB))], NOW);
      await check();
      const snapshot = await store.disks.snapshot(DISK, NOW);
      const then = Buffer.from(live);
      const batch = [
        write(256 * KiB, 512 * KiB, 2, alignedBuffer(512 * KiB)),
        write(320 * KiB, 64 * KiB, 3, alignedBuffer(64 * KiB)),
        write(321 * KiB, 512, 4, Buffer.alloc(512)),
        write(1024 * KiB, 512, 5, alignedBuffer(512)),
      ];
      await writeDisk(store.disks, DISK, batch, NOW);
      await check();
      await writeDisk(store.disks, DISK, [write(300 * KiB, 100 * KiB, 6, Buffer.alloc(100 * KiB))], NOW);
      await check();
      expect((await readDisk(store.disks, DISK, 0, size, snapshot)).equals(then)).toBe(true);
      await failsWith('InvalidReplicaState', readBack(store.disks, DISK, 1024 * KiB, alignedBuffer(64 * KiB)));
      await failsWith('InvalidReplicaState', readBack(store.disks, { ...DISK, disk: 'not' }, 0, Buffer.alloc(512)));
    });

    test('a disk that is missing or too short is an invalid replica', async () => {
      const store = await (await makeStore()).open();
      await failsWith(
        'InvalidReplicaState',
        writeDisk(store.disks, DISK, [{ offset: 0, data: Buffer.alloc(512) }], NOW),
      );
      await failsWith('InvalidReplicaState', readDisk(store.disks, DISK, 0, 512));
      await failsWith('InvalidReplicaState', rangesOf(store.disks, { offset: 0, length: 512 }));
      await failsWith('InvalidReplicaState', store.disks.snapshot(DISK, NOW));
      expect(await store.disks.listSnapshots(DISK)).toEqual([]);
      await store.disks.create(DISK, 4 * KiB, NOW);
      await failsWith('InvalidReplicaState', readDisk(store.disks, DISK, 4 * KiB, 1));
      await failsWith('InvalidReplicaState', readDisk(store.disks, DISK, -1, 1));
      await failsWith('InvalidReplicaState', readDisk(store.disks, DISK, 0, 512, '2026-01-01T00:00:00.0000000Z'));
    });

    test('page ranges leave out pages that were never written or were cleared', async () => {
      const store = await (await makeStore()).open();
      const MiB = KiB * KiB;
      await store.disks.create(DISK, 8 * MiB, NOW);
      const whole = { offset: 0, length: 8 * MiB };
      expect(await rangesOf(store.disks, whole)).toEqual([]);
      await writeDisk(store.disks, DISK, [{ offset: MiB, data: content(2 * MiB, 1) }], NOW);
      await writeDisk(store.disks, DISK, [{ offset: 6 * MiB, data: content(4 * KiB, 1) }], NOW);
      const snapshot = await store.disks.snapshot(DISK, NOW);
      await writeDisk(store.disks, DISK, [{ offset: 2 * MiB, clear: 2 * MiB }], NOW);
      await writeDisk(store.disks, DISK, [{ offset: 7 * MiB, data: content(4 * KiB, 1) }], NOW);
      expect(await rangesOf(store.disks, whole)).toEqual([
        { offset: MiB, length: MiB },
        { offset: 6 * MiB, length: 4 * KiB },
        { offset: 7 * MiB, length: 4 * KiB },
      ]);
      expect(await rangesOf(store.disks, whole, snapshot)).toEqual([
        { offset: MiB, length: 2 * MiB },
        { offset: 6 * MiB, length: 4 * KiB },
      ]);
      expect(await rangesOf(store.disks, { offset: 1.5 * MiB, length: 4.5 * MiB })).toEqual([
        { offset: 1.5 * MiB, length: 0.5 * MiB },
      ]);
    });

    test('a disk can grow, its snapshots keep size and content, and it never shrinks', async () => {
      const { open } = await makeStore();
      const store = await open();
      const [small, large] = [64 * KiB + 512, 256 * KiB + 512];
      await failsWith('InvalidReplicaState', store.disks.resize(DISK, small, NOW));
      await store.disks.create(DISK, small, NOW);
      await writeDisk(store.disks, DISK, [{ offset: 0, data: content(small, 1) }], NOW);
      const before = await store.disks.snapshot(DISK, NOW);
      await store.disks.resize(DISK, large, NOW);
      await store.disks.resize(DISK, large, NOW);
      const other = await open();
      expect(await other.disks.size(DISK)).toBe(large);
      expect(await other.disks.size(DISK, before)).toBe(small);
      const live = Buffer.concat([content(small, 1)], large);
      expect((await readDisk(other.disks, DISK, 0, large)).equals(live)).toBe(true);
      const after = await store.disks.snapshot(DISK, NOW);
      // Across the former end, where the block the footer was in is longer now.
      await writeDisk(store.disks, DISK, [{ offset: small - 512, data: content(100 * KiB, 2) }], NOW);
      await writeDisk(store.disks, DISK, [{ offset: large - 512, data: content(512, 3) }], NOW);
      const check = async (of: ReplicaStore) => {
        expect((await readDisk(of.disks, DISK, 0, small, before)).equals(content(small, 1))).toBe(true);
        expect(await rangesOf(of.disks, { offset: 0, length: small }, before)).toEqual([{ offset: 0, length: small }]);
        await failsWith('InvalidReplicaState', readDisk(of.disks, DISK, small, 512, before));
        expect(await of.disks.size(DISK, before)).toBe(small);
      };
      await check(other);
      expect(await other.disks.size(DISK, after)).toBe(large);
      expect((await readDisk(other.disks, DISK, 0, large, after)).equals(live)).toBe(true);
      await store.disks.deleteSnapshot(DISK, after, NOW);
      await check(await open());
      content(100 * KiB, 2).copy(live, small - 512);
      content(512, 3).copy(live, large - 512);
      expect((await readDisk(store.disks, DISK, 0, large)).equals(live)).toBe(true);
      await failsWith('InvalidReplicaState', store.disks.resize(DISK, small, NOW));
      await failsWith('InvalidReplicaState', store.disks.resize(DISK, large + 100, NOW));
      await failsWith('InvalidReplicaState', store.disks.size(DISK, after));
      expect(await store.disks.size(DISK)).toBe(large);
    });

    test('deleting a disk deletes its snapshots too, and can be repeated; a new disk is empty', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.disks.delete(DISK, NOW);
      await store.disks.create(DISK, 64 * KiB, NOW);
      const first = await store.disks.snapshot(DISK, NOW);
      await writeDisk(store.disks, DISK, [{ offset: 0, data: content(64 * KiB, 1) }], NOW);
      await store.disks.delete(DISK, NOW);
      await store.disks.delete(DISK, NOW);
      expect(await store.disks.size(DISK)).toBeUndefined();
      expect(await store.disks.listSnapshots(DISK)).toEqual([]);
      await store.disks.create(DISK, 32 * KiB, NOW);
      expect(await readDisk(store.disks, DISK, 0, 32 * KiB)).toEqual(Buffer.alloc(32 * KiB));
      expect(await store.disks.listSnapshots(DISK)).toEqual([]);
      await failsWith('InvalidReplicaState', readDisk(store.disks, DISK, 0, 512, first));
      expect(await store.disks.snapshot(DISK, NOW)).not.toBe(first);
    });

    test('a disk is not listed among the objects, and its data around the content is correct', async () => {
      const store = await (await makeStore()).open();
      await store.disks.create(DISK, 64 * KiB, NOW);
      await store.disks.snapshot(DISK, NOW);
      await store.objects.raiseFence({ scope: SCOPE, ...at(1, 1) });
      await store.objects.put(`${SCOPE}/applied.json`, Buffer.from('x'), { scope: SCOPE, ...at(1, 1) });
      expect(await store.objects.list('')).toEqual([`${SCOPE}/applied.json`]);
      expect(await store.disks.mend(DISK, at(1, 1))).toBeUndefined();
      await store.disks.resize(DISK, 128 * KiB, at(1, 1));
      expect(await store.disks.mend(DISK, at(1, 1))).toBeUndefined();
      await failsWith('InvalidReplicaState', store.disks.mend({ ...DISK, disk: 'none' }, at(1, 1)));
    });

    test('a disk that was opened before it grew keeps its old end', async () => {
      const store = await (await makeStore()).open();
      await store.disks.create(DISK, 64 * KiB, NOW);
      const opened = await store.disks.open(DISK, NOW);
      await store.disks.resize(DISK, 128 * KiB, NOW);
      await failsWith('InvalidReplicaState', opened.write([{ offset: 64 * KiB, data: content(512, 1) }]));
      await opened.write([{ offset: 63.5 * KiB, data: content(512, 1) }]);
      const expected = Buffer.concat([Buffer.alloc(63.5 * KiB), content(512, 1)], 128 * KiB);
      expect(await readDisk(store.disks, DISK, 0, 128 * KiB)).toEqual(expected);
    });

    test.each(['', '.', '..', '../outside', 'a/b', '/etc', 'a\\b', 'a\0b', '.fence', 'a '])(
      'the name %j is refused everywhere',
      async (bad) => {
        const { disks } = await (await makeStore()).open();
        for (const disk of [
          { ...DISK, vm: bad },
          { ...DISK, disk: bad },
        ]) {
          await failsWith('InvalidReplicaState', disks.create(disk, 4096, NOW));
          await failsWith('InvalidReplicaState', disks.resize(disk, 4096, NOW));
          await failsWith('InvalidReplicaState', disks.size(disk));
          await failsWith('InvalidReplicaState', disks.open(disk, NOW));
          await failsWith('InvalidReplicaState', disks.openReadOnly(disk));
          await failsWith('InvalidReplicaState', disks.mend(disk, NOW));
          await failsWith('InvalidReplicaState', disks.delete(disk, NOW));
          await failsWith('InvalidReplicaState', disks.snapshot(disk, NOW));
          await failsWith('InvalidReplicaState', disks.listSnapshots(disk));
          await failsWith('InvalidReplicaState', disks.deleteSnapshot(disk, '1', NOW));
        }
      },
    );
  });

  describe(`${name}: snapshots`, () => {
    test('snapshot ids sort by age and are never reused', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.disks.create(DISK, 64 * KiB, NOW);
      const ids: string[] = [];
      for (let i = 0; i < 12; i += 1) ids.push(await store.disks.snapshot(DISK, NOW));
      expect(new Set(ids).size).toBe(12);
      expect(ids.toSorted()).toEqual(ids);
      expect(await (await open()).disks.listSnapshots(DISK)).toEqual(ids);
      await store.disks.deleteSnapshot(DISK, ids[11]!, NOW);
      const next = await store.disks.snapshot(DISK, NOW);
      expect(next > ids[11]!).toBe(true);
    });

    test('deleting a snapshot can be repeated, and leaves the others unchanged', async () => {
      const { open } = await makeStore();
      const store = await open();
      await store.disks.create(DISK, 64 * KiB, NOW);
      const ids: string[] = [];
      for (let i = 1; i <= 4; i += 1) {
        await writeDisk(store.disks, DISK, [{ offset: (i % 3) * 8 * KiB, data: content(24 * KiB, i) }], NOW);
        ids.push(await store.disks.snapshot(DISK, NOW));
      }
      const kept = await Promise.all(ids.map((id) => readDisk(store.disks, DISK, 0, 64 * KiB, id)));
      await writeDisk(store.disks, DISK, [{ offset: 0, clear: 64 * KiB }], NOW);
      for (const gone of [2, 3, 0]) {
        await store.disks.deleteSnapshot(DISK, ids[gone]!, NOW);
        await (await open()).disks.deleteSnapshot(DISK, ids[gone]!, NOW);
        await failsWith('InvalidReplicaState', readDisk(store.disks, DISK, 0, 512, ids[gone]));
        expect(await readDisk(store.disks, DISK, 0, 64 * KiB, ids[1])).toEqual(kept[1]);
      }
      expect(await store.disks.listSnapshots(DISK)).toEqual([ids[1]]);
      await store.disks.deleteSnapshot({ ...DISK, disk: 'none' }, ids[1]!, NOW);
    });

    test(
      'each snapshot stays unchanged, whatever is written, cleared and deleted',
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

  describe(`${name}: fences of replica disks`, () => {
    test.each(besideFence(at))('every write with %s is refused or accepted alike', async (_, fence, accepted) => {
      const { open } = await makeStore();
      const store = await open();
      await store.disks.create(DISK, 64 * KiB, at(2, 0));
      const snapshot = await store.disks.snapshot(DISK, at(2, 0));
      const opened = await store.disks.open(DISK, fence);
      await (await open()).objects.raiseFence({ scope: SCOPE, ...at(2, 5) });
      const writes: (() => Promise<unknown>)[] = [
        () => store.disks.create({ ...DISK, disk: 'new' }, 4096, fence),
        () => opened.write([{ offset: 0, data: content(512, 1) }]),
        () => opened.write([{ offset: 0, clear: 512 }]),
        () => store.disks.resize(DISK, 128 * KiB, fence),
        () => store.disks.snapshot(DISK, fence),
        () => store.disks.deleteSnapshot(DISK, snapshot, fence),
        () => store.disks.delete(DISK, fence),
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
      expect(await store.disks.size({ ...DISK, disk: 'new' })).toBeUndefined();
      expect(await store.disks.size(DISK)).toBe(64 * KiB);
      expect(await store.disks.listSnapshots(DISK)).toEqual([snapshot]);
      expect(await readDisk(store.disks, DISK, 0, 512)).toEqual(Buffer.alloc(512));
      await store.disks.create({ vm: 'db-02', disk: 'os' }, 4096, at(1, 0));
    });

    test('once the fence is raised, no write of an older writer takes effect', async () => {
      const { open } = await makeStore();
      const [writer, other] = [await open(), await open()];
      await writer.disks.create(DISK, 64 * KiB, NOW);
      let stop = false;
      const lane = async (index: number): Promise<string> => {
        for (let n = 1; !stop; n += 1) {
          try {
            await writeDisk(writer.disks, DISK, [{ offset: index * 4 * KiB, data: content(4 * KiB, n) }], at(1, n));
          } catch (error) {
            return (error as CatalogueError).code;
          }
        }
        return 'never refused';
      };
      const lanes = [0, 1, 2, 3].map(lane);
      await other.objects.raiseFence({ scope: SCOPE, ...at(2, 0) });
      const landed = await readDisk(other.disks, DISK, 0, 64 * KiB);
      const ends = await Promise.race([
        Promise.all(lanes),
        new Promise<string[]>((resolve) => setTimeout(resolve, 30_000, ['still writing'])),
      ]);
      stop = true;
      expect(ends).toEqual(Array(4).fill('StaleEpoch'));
      expect(await readDisk(other.disks, DISK, 0, 64 * KiB)).toEqual(landed);
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
    await this.store.disks.create(DISK, SIZE, NOW);
  }

  async perform(next: Step): Promise<void> {
    if (next.kind === 'reopen') {
      await this.store.close();
      this.store = await this.open();
    } else if (next.kind === 'snapshot') {
      this.#snapshots.set(await this.store.disks.snapshot(DISK, NOW), Buffer.from(this.#live));
    } else if (next.kind === 'grow') {
      const size = this.#live.length + next.pages * 512;
      await this.store.disks.resize(DISK, size, NOW);
      this.#live = Buffer.concat([this.#live], size);
      await this.check();
    } else if (next.kind === 'delete') {
      const id = [...this.#snapshots.keys()][next.pick % Math.max(1, this.#snapshots.size)];
      if (id === undefined) return;
      await this.store.disks.deleteSnapshot(DISK, id, NOW);
      this.#snapshots.delete(id);
      await this.check();
    } else
      await writeDisk(
        this.store.disks,
        DISK,
        next.batch.map((part) => this.#write(part)),
        NOW,
      );
  }

  /** Places are counted from the end as often as from the beginning, so that what has grown is written, too. */
  #write({ page, pages, seed }: { page: number; pages: number; seed: number }): DiskWrite {
    const from = seed % 2 === 0 ? 0 : this.#live.length - SIZE;
    const [offset, length] = [from + page * 512, pages * 512];
    this.#live.fill(0, offset, offset + length);
    if (seed === 0) return { offset, clear: length };
    const data = content(length, seed + 13 * (this.#writes += 1));
    data.copy(this.#live, offset);
    return { offset, data };
  }

  async check(): Promise<void> {
    expect(await this.store.disks.listSnapshots(DISK)).toEqual([...this.#snapshots.keys()]);
    await this.#checkContent(this.#live, undefined);
    for (const [id, held] of this.#snapshots) await this.#checkContent(held, id);
  }

  async #checkContent(expected: Buffer, snapshot: string | undefined): Promise<void> {
    const size = expected.length;
    expect(await this.store.disks.size(DISK, snapshot)).toBe(size);
    const found = await readDisk(this.store.disks, DISK, 0, size, snapshot);
    expect(firstDifference(found, expected), `first byte that differs, snapshot ${snapshot}`).toBeUndefined();
    const part = await readDisk(this.store.disks, DISK, 5000, 9000, snapshot);
    expect(part.equals(expected.subarray(5000, 14_000))).toBe(true);
    const ranges = await rangesOf(this.store.disks, { offset: 0, length: size }, snapshot);
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
