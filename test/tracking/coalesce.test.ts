import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { recordBytes } from '../../tracking/change-log-record.js';
import { MAX_JOINED_BYTES, WriteIndex, type LoggedWrite } from '../../tracking/coalesce.js';
import { CoalescedWrites } from '../../tracking/write-runs.js';

const SECTOR = 512;

/** Lays writes out as a log does. */
function asLog(writes: { kind: 'data' | 'zero'; offset: number; length: number }[]): LoggedWrite[] {
  let position = 4096;
  return writes.map((write) => {
    const logged = { ...write, position };
    position += recordBytes(write);
    return logged;
  });
}

/** @param run most writes held in memory; the others are merged from a file. */
function coalesce(log: readonly LoggedWrite[], run = Infinity) {
  const index = new CoalescedWrites(run);
  onTestFinished(() => index.close());
  for (const write of log) index.add(write);
  const ranges = index.coalesce();
  expect([...ranges]).toEqual([...ranges]);
  return [...ranges];
}

function coalesceAtOnce(log: readonly LoggedWrite[]) {
  const index = new WriteIndex();
  for (const write of log) index.add(write);
  return [...index.coalesce()];
}

const write = fc.record({
  kind: fc.constantFrom('data' as const, 'data' as const, 'zero' as const),
  offset: fc.integer({ min: 0, max: 60 }).map((sector) => sector * SECTOR),
  length: fc.integer({ min: 1, max: 20 }).map((sectors) => sectors * SECTOR),
});

describe('coalesce', () => {
  it('keeps the last write of every sector, like a simple model', () => {
    fc.assert(
      fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
        const log = asLog(writes);
        const model = new Map<number, number>();
        for (const [index, { offset, length }] of log.entries()) {
          for (let at = offset; at < offset + length; at += SECTOR) model.set(at, index);
        }
        const seen = new Map<number, number>();
        let before = -1;
        for (const range of coalesce(log)) {
          expect(range.offset).toBeGreaterThanOrEqual(before);
          expect(range.length).toBeGreaterThan(0);
          before = range.offset + range.length;
          // Read as a reader does: from the record at `position`, then the one behind it.
          let index = log.findIndex((entry) => entry.position === range.position);
          for (let at = range.offset; at < before; at += SECTOR) {
            if (range.zero) {
              seen.set(at, model.get(at)!);
              expect(log[model.get(at)!]!.kind).toBe('zero');
              continue;
            }
            if (at >= log[index]!.offset + log[index]!.length) index += 1;
            expect(at).toBeGreaterThanOrEqual(log[index]!.offset);
            expect(at).toBeLessThan(log[index]!.offset + log[index]!.length);
            seen.set(at, index);
          }
        }
        expect([...seen].sort((a, b) => a[0] - b[0])).toEqual([...model].sort((a, b) => a[0] - b[0]));
      }),
      { numRuns: 1000 },
    );
  });

  it('gives the same result in runs of any length as without runs', () => {
    const long = fc.array(write, { maxLength: 120 });
    fc.assert(
      fc.property(long, fc.integer({ min: 1, max: 30 }), (writes, run) => {
        const log = asLog(writes);
        const index = new CoalescedWrites(run);
        for (const entry of log) index.add(entry);
        try {
          expect([...index.coalesce()]).toEqual(coalesceAtOnce(log));
        } finally {
          index.close();
        }
      }),
      { numRuns: 500 },
    );
  });

  it('joins across the border of two runs, and reads runs longer than a page', () => {
    const scattered = asLog(
      Array.from({ length: 7000 }, (_, i) => ({ kind: 'data' as const, offset: i * 1024, length: 512 })),
    );
    expect(coalesce(scattered, 3000)).toEqual(coalesceAtOnce(scattered));
    const stream = asLog(
      Array.from({ length: 40 }, (_, i) => ({ kind: 'data' as const, offset: i * 4096, length: 4096 })),
    );
    expect(coalesce(stream, 7)).toEqual([expect.objectContaining({ offset: 0, length: 40 * 4096 })]);
  });

  it('processes many more writes than a run holds, in the memory of one run', () => {
    const before = process.memoryUsage();
    const index = new CoalescedWrites(50_000);
    onTestFinished(() => index.close());
    for (let i = 0; i < 1_500_000; i += 1) {
      const block = Math.imul(i, 0x9e3779b1) >>> 8;
      index.add({ kind: 'data', offset: block * 4096, length: 4096, position: 4096 + i * 4136 });
    }
    let count = 0;
    for (const range of index.coalesce()) count += range.length > 0 ? 1 : 0;
    expect(count).toBeGreaterThan(1_000_000);
    // All at once would take 61 bytes a write, 87 MiB; what garbage collection has not got to yet is in this.
    expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(50 * 2 ** 20);
  });

  it('joins a sequential stream up to the limit, and no further', () => {
    const length = 256 * 1024;
    const log = asLog(Array.from({ length: 40 }, (_, i) => ({ kind: 'data' as const, offset: i * length, length })));
    const ranges = coalesce(log);
    expect(ranges.map((range) => range.length)).toEqual([MAX_JOINED_BYTES, MAX_JOINED_BYTES, 2 * 1024 * 1024]);
    expect(ranges[1]!.position).toBe(log[16]!.position);
  });

  it('orders offsets beyond 4 GiB and up to 60 TiB', () => {
    const offsets = [60 * 2 ** 40, 2 ** 32, 5 * 2 ** 32 + 512, 0, 2 ** 32 - 512];
    const log = asLog(offsets.map((offset) => ({ kind: 'data' as const, offset, length: 512 })));
    expect(coalesce(log).map((range) => range.offset)).toEqual([...offsets].sort((a, b) => a - b));
  });

  it('processes a million random 4 KiB writes over 64 GiB within its memory limit', () => {
    const index = new WriteIndex();
    const before = process.memoryUsage();
    const blocks = 16 * 2 ** 20;
    for (let i = 0; i < 1_000_000; i += 1) {
      const block = Math.imul(i, 0x9e3779b1) >>> 8;
      index.add({ kind: 'data', offset: (block % blocks) * 4096, length: 4096, position: 4096 + i * 4136 });
    }
    const columns = process.memoryUsage().arrayBuffers - before.arrayBuffers;
    expect(columns / index.count).toBeLessThan(60);
    const ranges = index.coalesce();
    let count = 0;
    for (const range of ranges) count += range.length > 0 ? 1 : 0;
    expect(count).toBeGreaterThan(900_000);
    const kept = process.memoryUsage().arrayBuffers - before.arrayBuffers;
    expect(kept / index.count).toBeLessThan(75);
  });

  it('refuses ranges that are not whole sectors', () => {
    expect(() => new WriteIndex().add({ kind: 'data', offset: 1, length: 512, position: 0 })).toThrow(RangeError);
  });
});
