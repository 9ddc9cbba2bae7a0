/** Byte ranges of a disk, and arithmetic on them. Offsets and lengths are in bytes. */

export interface Range {
  readonly offset: number;
  readonly length: number;
}

export const end = (range: Range): number => range.offset + range.length;

export const overlaps = (a: Range, b: Range): boolean => a.offset < end(b) && b.offset < end(a);

export const alignDown = (value: number, unit: number): number => value - (value % unit);
export const alignUp = (value: number, unit: number): number => alignDown(value + unit - 1, unit);

/** The part that both ranges share, or undefined. */
export function intersect(a: Range, b: Range): Range | undefined {
  const offset = Math.max(a.offset, b.offset);
  const length = Math.min(end(a), end(b)) - offset;
  return length > 0 ? { offset, length } : undefined;
}

/** The parts of `ranges` within `limits`. */
export const clipRanges = (ranges: readonly Range[], limits: Range): Range[] =>
  ranges.flatMap((range) => intersect(range, limits) ?? []);

/** Sorted and without overlap; adjacent ranges are joined. */
export function mergeRanges(ranges: Iterable<Range>): Range[] {
  const sorted = [...ranges].filter((range) => range.length > 0).sort((a, b) => a.offset - b.offset);
  const merged: { offset: number; length: number }[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last && range.offset <= end(last)) last.length = Math.max(end(last), end(range)) - last.offset;
    else merged.push({ ...range });
  }
  return merged;
}

/** The parts of `ranges` outside `holes`; both must be sorted and without overlap. */
export function subtractRanges(ranges: readonly Range[], holes: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let next = 0;
  for (const range of ranges) {
    let offset = range.offset;
    while (next < holes.length && end(holes[next]!) <= offset) next += 1;
    for (let at = next; at < holes.length && holes[at]!.offset < end(range); at += 1) {
      if (holes[at]!.offset > offset) rest.push({ offset, length: holes[at]!.offset - offset });
      offset = Math.max(offset, end(holes[at]!));
    }
    if (offset < end(range)) rest.push({ offset, length: end(range) - offset });
  }
  return rest;
}

export const totalLength = (ranges: Iterable<Range>): number => {
  let total = 0;
  for (const range of ranges) total += range.length;
  return total;
};

/** Cuts a range into pieces no longer than `limit` bytes, at multiples of `limit`. */
export function* splitRange(range: Range, limit: number): Generator<Range> {
  let offset = range.offset;
  while (offset < end(range)) {
    const stop = Math.min(end(range), alignDown(offset, limit) + limit);
    yield { offset, length: stop - offset };
    offset = stop;
  }
}
