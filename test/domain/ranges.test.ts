/** The algebra of ranges against a bitmap: one byte per byte. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  alignDown,
  alignUp,
  end,
  intersect,
  mergeRanges,
  overlaps,
  splitRange,
  subtractRanges,
  totalLength,
  type Range,
} from '../../domain/ranges.js';

const SIZE = 120;
const range = fc
  .tuple(fc.nat(SIZE - 1), fc.nat(30))
  .map(([offset, length]): Range => ({ offset, length: Math.min(length, SIZE - offset) }));
const ranges = fc.array(range, { maxLength: 12 });

function bitmapOf(covered: readonly Range[]): boolean[] {
  const bits = Array<boolean>(SIZE).fill(false);
  for (const one of covered) bits.fill(true, one.offset, one.offset + one.length);
  return bits;
}

/** The only sorted list without overlap, touch or emptiness that covers these bits. */
function rangesOf(bits: readonly boolean[]): Range[] {
  const found: { offset: number; length: number }[] = [];
  for (const [offset, bit] of bits.entries()) {
    if (!bit) continue;
    if (offset > 0 && bits[offset - 1]) found.at(-1)!.length += 1;
    else found.push({ offset, length: 1 });
  }
  return found;
}

describe('operations on ranges agree with the same operations on bytes', () => {
  it('merged', () => {
    fc.assert(fc.property(ranges, (some) => void expect(mergeRanges(some)).toEqual(rangesOf(bitmapOf(some)))));
  });

  it('merging does not modify its input', () => {
    fc.assert(
      fc.property(ranges, (some) => {
        const before = structuredClone(some);
        mergeRanges(some);
        expect(some).toEqual(before);
      }),
    );
  });

  it('subtracted', () => {
    fc.assert(
      fc.property(ranges, ranges, (some, holes) => {
        const [kept, taken] = [mergeRanges(some), mergeRanges(holes)];
        const [from, less] = [bitmapOf(some), bitmapOf(holes)];
        const rest = subtractRanges(kept, taken);
        expect(rest).toEqual(rangesOf(from.map((bit, at) => bit && !less[at])));
      }),
    );
  });

  it('subtracted, with adjacent pieces', () => {
    const pieces = [
      { offset: 0, length: 10 },
      { offset: 10, length: 10 },
      { offset: 20, length: 10 },
    ];
    expect(subtractRanges(pieces, [{ offset: 5, length: 20 }])).toEqual([
      { offset: 0, length: 5 },
      { offset: 25, length: 5 },
    ]);
  });

  it('intersected', () => {
    fc.assert(
      fc.property(range, range, (a, b) => {
        const [ofA, ofB] = [bitmapOf([a]), bitmapOf([b])];
        const both = rangesOf(ofA.map((bit, at) => bit && ofB[at]!))[0];
        expect(intersect(a, b)).toEqual(both);
        if (a.length > 0 && b.length > 0) expect(overlaps(a, b)).toBe(both !== undefined);
      }),
    );
  });

  it('measured', () => {
    fc.assert(
      fc.property(ranges, (some) => {
        expect(totalLength(mergeRanges(some))).toBe(bitmapOf(some).filter(Boolean).length);
      }),
    );
  });

  it('divided at multiples of a limit', () => {
    fc.assert(
      fc.property(range, fc.integer({ min: 1, max: 40 }), (one, limit) => {
        const pieces = [...splitRange(one, limit)];
        expect(mergeRanges(pieces)).toEqual(mergeRanges([one]));
        expect(totalLength(pieces)).toBe(one.length);
        for (const [index, piece] of pieces.entries()) {
          expect(piece.length).toBeGreaterThan(0);
          // No piece goes over a boundary, and only the outermost may begin or end off one.
          expect(Math.floor(piece.offset / limit)).toBe(Math.floor((end(piece) - 1) / limit));
          if (index > 0) expect(piece.offset % limit).toBe(0);
        }
      }),
    );
  });
});

it('alignment rounds to the nearest multiple in its direction', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 40), fc.integer({ min: 1, max: 2 ** 21 }), (value, unit) => {
      const [down, up] = [alignDown(value, unit), alignUp(value, unit)];
      expect([down % unit, up % unit]).toEqual([0, 0]);
      expect(value - down).toBeGreaterThanOrEqual(0);
      expect(value - down).toBeLessThan(unit);
      expect(up - value).toBeGreaterThanOrEqual(0);
      expect(up - value).toBeLessThan(unit);
    }),
  );
});
