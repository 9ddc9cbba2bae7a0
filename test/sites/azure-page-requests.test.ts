import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { end } from '../../domain/ranges.js';
import { LARGEST_WRITE, pageRequests } from '../../sites/azure-store/page-requests.js';
import type { DiskWrite } from '../../ports/replica-disks.js';

const PAGE = 512;
const PAGES = 64;

const write: fc.Arbitrary<DiskWrite> = fc
  .record({ page: fc.nat(PAGES - 1), pages: fc.integer({ min: 0, max: 20 }), fill: fc.nat(9) })
  .map(({ page, pages, fill }) => {
    const length = Math.min(pages, PAGES - page) * PAGE;
    return fill === 0
      ? { offset: page * PAGE, clear: length }
      : { offset: page * PAGE, data: Buffer.alloc(length, fill) };
  });

describe('requests for a list of page writes', () => {
  it('do not overlap, and have the same result as the writes one after the other', () => {
    fc.assert(
      fc.property(fc.array(write, { maxLength: 12 }), (writes) => {
        const inOrder = Buffer.alloc(PAGES * PAGE, 0xff);
        for (const one of writes) {
          if ('data' in one) one.data.copy(inOrder, one.offset);
          else inOrder.fill(0, one.offset, one.offset + one.clear);
        }
        const requests = [...pageRequests(writes)];
        for (const [index, request] of requests.entries()) {
          expect(request.length).toBeGreaterThan(0);
          if (index > 0) expect(end(requests[index - 1]!)).toBeLessThanOrEqual(request.offset);
        }
        const asRequested = Buffer.alloc(PAGES * PAGE, 0xff);
        // In any order: they are under way side by side.
        for (const { offset, length, data } of requests.toReversed()) {
          if (data) {
            expect(data.length).toBe(length);
            data.copy(asRequested, offset);
          } else asRequested.fill(0, offset, offset + length);
        }
        expect(asRequested.equals(inOrder)).toBe(true);
      }),
    );
  });

  it('join adjacent writes, and are never larger than the service accepts', () => {
    const data = Buffer.alloc(LARGEST_WRITE / 4, 1);
    const neighbours = Array.from({ length: 10 }, (_, index) => ({ offset: index * data.length, data }));
    expect([...pageRequests(neighbours)].map(({ length }) => length)).toEqual([
      LARGEST_WRITE,
      LARGEST_WRITE,
      LARGEST_WRITE / 2,
    ]);
    const large = [{ offset: PAGE, data: Buffer.alloc(LARGEST_WRITE * 2) }];
    expect([...pageRequests(large)].map(({ offset, length }) => [offset, length])).toEqual([
      [PAGE, LARGEST_WRITE - PAGE],
      [LARGEST_WRITE, LARGEST_WRITE],
      [LARGEST_WRITE * 2, PAGE],
    ]);
    expect([...pageRequests([{ offset: 0, clear: LARGEST_WRITE * 3 }])]).toEqual([
      { offset: 0, length: LARGEST_WRITE * 3 },
    ]);
  });
});
