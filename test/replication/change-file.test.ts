import { blake3 } from '@napi-rs/blake-hash';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { end } from '../../domain/ranges.js';
import { decodeHeader, HEADER_BYTES, MAX_ROW_DATA, ROW_BYTES } from '../../replication/change-file.js';
import { BATCH_BYTES, ChangeFileReader } from '../../replication/change-file-reader.js';
import { ChangeFileWriter } from '../../replication/change-file-writer.js';
import { planParts } from '../../replication/change-parts.js';
import type { ChangeRange, DiskChanges } from '../../ports/hypervisor.js';
import { KiB, MiB, pattern } from './model.js';

const identity = { vm: 'db-01', disk: 'os', epoch: 3, sequence: 70_000, diskSize: 6 * 2 ** 40 };

/** Writes all of it into one file. */
async function writerOf(of: typeof identity, { ranges, read }: DiskChanges): Promise<ChangeFileWriter> {
  const [part = { ranges: 0, rows: 0, payload: 0, longest: 1 }] = await planParts(ranges, of.diskSize, {
    payload: Infinity,
    rows: Infinity,
  });
  return new ChangeFileWriter(of, part, ranges, read);
}

async function writeFile(changes: DiskChanges, of = identity): Promise<{ file: Buffer; digest: string }> {
  const writer = await writerOf(of, changes);
  const chunks: Buffer[] = [];
  for await (const chunk of writer.chunks()) chunks.push(Buffer.from(chunk));
  const file = Buffer.concat(chunks);
  expect(file.length).toBe(writer.length);
  return { file, digest: writer.digest() };
}

const readerOf = (file: Buffer) => ({
  readObject: async (_name: string, offset: number, length: number) =>
    Buffer.from(file.subarray(offset, offset + length)),
  readObjectInto: async (_name: string, offset: number, target: Buffer) => void file.copy(target, 0, offset),
});

async function readBack(file: Buffer, of = identity) {
  const reader = await ChangeFileReader.open(readerOf(file), 'file', of, file.length);
  const writes = [];
  for await (const batch of reader.batches()) writes.push(...(await reader.load(batch, Buffer.alloc(BATCH_BYTES))));
  return writes;
}

const contentOf = (range: ChangeRange): Buffer => pattern(range.length, range.position);
const changesOf = (ranges: ChangeRange[]): DiskChanges => ({
  name: 'os',
  ranges,
  read: async (range) => contentOf(range),
});

describe('change file', () => {
  test('the layout is the documented one, to the byte', async () => {
    const { file, digest } = await writeFile(
      changesOf([
        { offset: 512, length: 512, zero: false, position: 1 },
        { offset: 5 * 2 ** 40, length: 2 ** 40, zero: true, position: 0 },
      ]),
    );
    expect(file.length).toBe(512 + 512 + 2 * 20);
    expect(file.toString('latin1', 0, 8)).toBe('FARCHNG1');
    expect([8, 12].map((at) => file.readUInt32LE(at))).toEqual([512, 20]);
    expect([16, 24, 32, 40, 48].map((at) => Number(file.readBigUInt64LE(at)))).toEqual([
      3,
      70_000,
      6 * 2 ** 40,
      2,
      512,
    ]);
    expect(file.subarray(56, 62)).toEqual(Buffer.from('\u0005db-01'));
    expect(file.subarray(120, 123)).toEqual(Buffer.from('\u0002os'));
    expect(file.subarray(512, 1024).equals(pattern(512, 1))).toBe(true);
    expect([1024, 1032, 1044, 1052].map((at) => Number(file.readBigUInt64LE(at)))).toEqual([
      512,
      512,
      5 * 2 ** 40,
      2 ** 40 + 1,
    ]);
    expect(blake3(file).toString('hex')).toBe(digest);
  });

  test('whatever goes in comes out, and the same changes give the same file', async () => {
    // Sectors; forty of them end within the disk of 6 TiB.
    const gap = fc.integer({ min: 0, max: 2 ** 28 });
    const length = fc.oneof(fc.integer({ min: 1, max: 64 }), fc.constantFrom(8191, 8192, 8193, 20_000));
    const shape = fc.array(fc.record({ gap, length, zero: fc.boolean() }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(shape, async (parts) => {
        let at = 0;
        const ranges = parts.map((part, index) => {
          const range = { offset: at + part.gap * 512, length: part.length * 512, zero: part.zero, position: index };
          at = end(range);
          return range;
        });
        const { file, digest } = await writeFile(changesOf(ranges));
        expect((await writeFile(changesOf(ranges))).digest).toBe(digest);
        const expected = ranges.map((range) => ({ ...range, content: range.zero ? undefined : contentOf(range) }));
        const found = expected.map(({ offset }) => ({ offset, pieces: [] as Buffer[], cleared: 0 }));
        for (const write of await readBack(file)) {
          const target = found.findLast(({ offset }) => offset <= write.offset)!;
          if ('data' in write) target.pieces.push(write.data);
          else target.cleared += write.clear;
        }
        for (const [index, { content, length: bytes }] of expected.entries()) {
          const { pieces, cleared } = found[index]!;
          expect(cleared).toBe(content ? 0 : bytes);
          if (content) expect(Buffer.concat(pieces).equals(content)).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('a million small ranges are written and read in batches of bounded size', async () => {
    const count = 1_000_000;
    const data = pattern(4 * KiB, 1);
    const ranges = Array.from({ length: count }, (_, index) => {
      return { offset: index * 8 * KiB, length: 4 * KiB, zero: index % 50 !== 0, position: 0 };
    });
    const { file } = await writeFile({ name: 'os', ranges, read: async () => data });
    expect(file.length).toBe(HEADER_BYTES + (count / 50) * 4 * KiB + count * ROW_BYTES);
    const reader = await ChangeFileReader.open(readerOf(file), 'file', identity, file.length);
    let rows = 0;
    for await (const batch of reader.batches()) {
      rows += batch.rows.length;
      expect(batch.content.length).toBeLessThanOrEqual(MAX_ROW_DATA);
      expect(batch.rows.length).toBeLessThanOrEqual(4096);
    }
    expect(rows).toBe(count);
  });

  test('no more content is read ahead than the limit', async () => {
    const ranges = Array.from({ length: 20 }, (_, index) => {
      return { offset: index * 8 * MiB, length: 8 * MiB, zero: false, position: 0 };
    });
    const data = Buffer.alloc(8 * MiB, 1);
    let held = 0;
    let most = 0;
    const read = async () => {
      held += 1;
      most = Math.max(most, held);
      await new Promise((resolve) => setImmediate(resolve));
      return data;
    };
    const writer = await writerOf(identity, { name: 'os', ranges, read });
    let written = 0;
    for await (const chunk of writer.chunks()) {
      written += chunk.length;
      held -= chunk.length === MAX_ROW_DATA ? 0.5 : 0;
    }
    expect(written).toBe(writer.length);
    expect(most).toBeLessThanOrEqual(4);
  });

  test.each([
    [
      'unsorted',
      [
        { offset: 1024, length: 512 },
        { offset: 0, length: 512 },
      ],
    ],
    [
      'overlapping',
      [
        { offset: 0, length: 1024 },
        { offset: 512, length: 512 },
      ],
    ],
    ['empty', [{ offset: 0, length: 0 }]],
    ['unaligned', [{ offset: 100, length: 512 }]],
    ['of half a sector', [{ offset: 0, length: 100 }]],
    ['behind the disk', [{ offset: 6 * 2 ** 40, length: 512 }]],
    ['before the disk', [{ offset: -512, length: 512 }]],
  ])('ranges that are %s are refused', async (_name, ranges) => {
    const changes = changesOf(ranges.map((range) => ({ ...range, zero: false, position: 0 })));
    await expect(writerOf(identity, changes)).rejects.toMatchObject({ code: 'LogBroken' });
  });

  test('content of another length than its range is refused', async () => {
    const changes: DiskChanges = {
      name: 'os',
      ranges: [{ offset: 0, length: 1024, zero: false, position: 0 }],
      read: async () => Buffer.alloc(512),
    };
    await expect(writeFile(changes)).rejects.toMatchObject({ code: 'LogBroken' });
  });

  test('a flipped bit is found wherever it is, even without the digest, but in the seal of zeroes', async () => {
    const { file } = await writeFile(
      changesOf([
        { offset: 0, length: 1024, zero: false, position: 1 },
        { offset: 4096, length: 512, zero: true, position: 0 },
        { offset: 8192, length: 512, zero: false, position: 2 },
      ]),
      { ...identity, diskSize: 16_384 },
    );
    const intact = JSON.stringify(await readBack(file, { ...identity, diskSize: 16_384 }));
    const unnoticed: number[] = [];
    for (let at = 0; at < file.length; at += 1) {
      const damaged = Buffer.from(file);
      damaged[at]! ^= 1 << (at % 8);
      try {
        const back = JSON.stringify(await readBack(damaged, { ...identity, diskSize: 16_384 }));
        unnoticed.push(at);
        expect(back === intact || at >= HEADER_BYTES + 1536).toBe(true);
      } catch (error) {
        expect(error).toMatchObject({ code: 'LogBroken' });
      }
    }
    // Offsets in rows and the unused checksum of zeroes are proven by the manifest's digest alone.
    expect(unnoticed.every((at) => at >= HEADER_BYTES + 1536)).toBe(true);
  });

  test.each(['vm', 'disk', 'epoch', 'sequence', 'diskSize'] as const)(
    'a file of another %s is refused',
    async (key) => {
      const { file } = await writeFile(changesOf([{ offset: 0, length: 512, zero: false, position: 0 }]));
      const other = {
        ...identity,
        [key]: typeof identity[key] === 'number' ? (identity[key] as number) + 512 : 'other',
      };
      await expect(readBack(file, other)).rejects.toMatchObject({
        code: 'LogBroken',
        detail: expect.stringContaining(key),
      });
    },
  );

  test('a file that is cut off, or goes on, is refused', async () => {
    const { file } = await writeFile(changesOf([{ offset: 0, length: 512, zero: false, position: 0 }]));
    await expect(readBack(file.subarray(0, file.length - 20))).rejects.toMatchObject({ code: 'LogBroken' });
    await expect(readBack(Buffer.concat([file, Buffer.alloc(20)]))).rejects.toMatchObject({ code: 'LogBroken' });
    expect(() => decodeHeader(file.subarray(0, 100))).toThrow(expect.objectContaining({ code: 'LogBroken' }));
  });
});
