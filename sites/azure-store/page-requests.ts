/** Turns a list of page writes into as few requests as possible, which do not overlap. */
import { alignDown, end, overlaps, subtractRanges, mergeRanges, type Range } from '../../domain/ranges.js';
import { rangeOf } from '../page-requests.js';
import type { DiskWrite } from '../../ports/replica-disks.js';

/** The service's limit for one request, bytes. */
export const LARGEST_WRITE = 4 * 1024 * 1024;

export interface PageRequest extends Range {
  /** Undefined clears the range. */
  readonly data?: Buffer;
}

/**
 * The writes of a list take effect in order, and the last one to a page wins; but requests run in parallel. So ranges
 * that a later write of the list covers are left out, and adjacent ones are joined.
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

/** The part of each write that no later one covers. */
function lastOnes(writes: readonly DiskWrite[]): DiskWrite[] {
  const kept: DiskWrite[] = [];
  let covered: Range[] = [];
  for (const write of writes.toReversed()) {
    for (const rest of subtractRanges([rangeOf(write)], covered)) kept.push(part(write, rest));
    covered = mergeRanges([...covered, rangeOf(write)]);
  }
  return kept;
}

/**
 * Divides writes longer than a request at multiples of the limit, so that adjacent pieces still fill a request.
 * Clearing has no limit.
 */
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
