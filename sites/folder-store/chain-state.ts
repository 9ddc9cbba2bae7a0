/**
 * The undo journals that a page blob has, and those that it must have according to its record. The record is replaced
 * durably after a journal gets its name, and before a journal is removed.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { numberOfSnapshot, readBlobRecord, type BlobRecord } from './blob-record.js';
import { unlessMissing } from './folder-errors.js';

export interface ChainLink {
  readonly id: string;
  readonly deleting: boolean;
  readonly folder: string;
}

const LINK_NAME = /^(\d{10}-[0-9a-f]{8})(?:\.deleting)?$/;
const DELETING = '.deleting';

/** The file that marks a snapshot as deleted. */
export const deletionMark = (journals: string, id: string): string => path.join(journals, id + DELETING);

/** @returns the journals of a blob, oldest first; none if there is no such blob. */
export async function listChain(journals: string): Promise<ChainLink[]> {
  const links: ChainLink[] = [];
  const entries = await unlessMissing(readdir(journals, { withFileTypes: true }), []);
  const marks = new Set(entries.flatMap(({ name }) => (name.endsWith(DELETING) ? [name] : [])));
  for (const entry of entries) {
    const id = entry.isDirectory() ? LINK_NAME.exec(entry.name)?.[1] : undefined;
    if (id === undefined) continue;
    links.push({ id, deleting: marks.has(id + DELETING), folder: path.join(journals, entry.name) });
  }
  return links.sort((a, b) => (a.id < b.id ? -1 : 1));
}

export interface ChainState {
  /** Undefined if there is none; callers that need it report that. */
  readonly record: BlobRecord | undefined;
  /** The usable journals, oldest first. */
  readonly links: readonly ChainLink[];
  /** The journals of snapshots that can no longer be read. */
  readonly useless: readonly ChainLink[];
  /** Number of the newest unreadable snapshot, whether or not its journal exists; 0 if there is none. */
  readonly lostUpTo: number;
}

/**
 * Compares the existing journals with the required ones. Needs no lock: a journal is added to the record after it
 * exists, and removed from it before it is deleted.
 */
export async function readChain(journals: string): Promise<ChainState> {
  for (let record = await recordOf(journals); ;) {
    const found = await listChain(journals);
    const numbers = new Set(found.map(({ id }) => numberOfSnapshot(id)));
    const missing = record?.chain?.findLast((number) => !numbers.has(number)) ?? 0;
    const newest = found.at(-1);
    const isNewer = newest && record && numberOfSnapshot(newest.id) >= record.nextSnapshot;
    const lostUpTo = Math.max(missing, record?.lostUpTo ?? 0);
    const links = found.filter(({ id }) => numberOfSnapshot(id) > lostUpTo);
    const useless = found.slice(0, found.length - links.length);
    if (missing === 0 && !isNewer) return { record, links, useless, lostUpTo };
    // Repeats the comparison if snapshots were taken or deleted meanwhile; otherwise this is the actual state.
    const now = await recordOf(journals);
    if (isDeepStrictEqual(now, record)) return { record, links, useless, lostUpTo };
    record = now;
  }
}

const recordOf = (journals: string): Promise<BlobRecord | undefined> =>
  unlessMissing(readBlobRecord(journals), undefined);

/** The record of a blob after snapshots are taken or deleted. @param state as read under the blob's lock. */
export function recordWith(
  record: BlobRecord,
  { links, useless }: ChainState,
  change: { readonly taken?: number; readonly deleted?: string } = {},
): BlobRecord {
  const newest = [...useless, ...links].at(-1);
  const inUse = Math.max(change.taken ?? 0, newest ? numberOfSnapshot(newest.id) : 0);
  const kept = links.filter(({ id }) => id !== change.deleted).map(({ id }) => numberOfSnapshot(id));
  return {
    ...record,
    nextSnapshot: Math.max(record.nextSnapshot, inUse + 1),
    chain: [...kept, ...(change.taken === undefined ? [] : [change.taken])],
  };
}
