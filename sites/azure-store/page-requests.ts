/** What a list of page writes becomes on its way to the service: requests that do not overlap, as few as can be. */
import { alignDown, end, overlaps, subtractRanges, mergeRanges, type Range } from '../../domain/ranges.js';
import { rangeOf } from '../page-requests.js';
import type { DiskWrite } from '../../ports/replica-disks.js';

/** Bytes: the most that the service takes in one request. */
export const LARGEST_WRITE = 4 * 1024 * 1024;

export interface PageRequest extends Range {
  /** Undefined clears the range. */
  readonly data?: Buffer;
}

/**
 * Writes of a list happen in order, and the last one to write a page wins; requests are under way side by side. So what
 * is overwritten within the list is left out, and neighbours are joined.
 */
export function* pageRequests(writes: readonly DiskWrite[]): Generator<PageRequest> {
  let joined: DiskWrite[] = [];
  for (const write of withoutOverlap(writes)) {
    const last = joined.at(-1);
    if (last && !belongsTo(joined, last, write)) {
      yield requestOf(joined);
      joined = [];
    }
    joined.push(write);
  }
  if (joined.length > 0) yield requestOf(joined);
}

function belongsTo(joined: readonly DiskWrite[], last: DiskWrite, write: DiskWrite): boolean {
  if (end(rangeOf(last)) !== write.offset || 'data' in last !== 'data' in write) return false;
  return !('data' in write) || end(rangeOf(write)) - joined[0]!.offset <= LARGEST_WRITE;
}

function requestOf(joined: readonly DiskWrite[]): PageRequest {
  const [first, last] = [joined[0]!, joined.at(-1)!];
  const range = { offset: first.offset, length: end(rangeOf(last)) - first.offset };
  const data = joined.flatMap((write) => ('data' in write ? [write.data] : []));
  if (data.length === 0) return range;
  return { ...range, data: data.length === 1 ? data[0]! : Buffer.concat(data) };
}

/** Sorted; no piece is larger than a request. */
function withoutOverlap(writes: readonly DiskWrite[]): DiskWrite[] {
  const wanted = writes.filter((write) => rangeOf(write).length > 0);
  const sorted = wanted.toSorted((a, b) => a.offset - b.offset);
  const clash = sorted.some((write, index) => index > 0 && overlaps(rangeOf(sorted[index - 1]!), rangeOf(write)));
  const pieces = clash ? lastOnes(wanted).toSorted((a, b) => a.offset - b.offset) : sorted;
  return pieces.flatMap((write) => [...cut(write)]);
}

/** Of each write what no later one covers. */
function lastOnes(writes: readonly DiskWrite[]): DiskWrite[] {
  const kept: DiskWrite[] = [];
  let covered: Range[] = [];
  for (const write of writes.toReversed()) {
    for (const rest of subtractRanges([rangeOf(write)], covered)) kept.push(part(write, rest));
    covered = mergeRanges([...covered, rangeOf(write)]);
  }
  return kept;
}

/** What is longer than a request, at multiples of the largest, so that neighbours still fill one. Clearing has no such limit. */
function* cut(write: DiskWrite): Generator<DiskWrite> {
  if (!('data' in write) || write.data.length <= LARGEST_WRITE) {
    yield write;
    return;
  }
  const stop = end(rangeOf(write));
  for (let offset = write.offset; offset < stop;) {
    const next = Math.min(stop, alignDown(offset, LARGEST_WRITE) + LARGEST_WRITE);
    yield part(write, { offset, length: next - offset });
    offset = next;
  }
}

function part(write: DiskWrite, { offset, length }: Range): DiskWrite {
  if (!('data' in write)) return { offset, clear: length };
  const from = offset - write.offset;
  return { offset, data: write.data.subarray(from, from + length) };
}
