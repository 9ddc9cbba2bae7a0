/** The record of a page blob beside its pages: `blob.json` in the folder of its undo journals. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { writeAt } from '../../disks/positional-io.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { CatalogueError } from '../../domain/errors.js';
import { withFile, type DurableFiles } from './files.js';

const FILE = 'blob.json';

const blobRecordSchema = z.object({
  version: z.literal(1),
  /** Bytes. */
  size: z.int().positive(),
  /** Unique among all blobs that ever had this name, so that an old snapshot's id never refers to a newer blob. */
  incarnation: z.string().regex(/^[0-9a-f]{8}$/),
  /** No id is used twice; numbers of existing journals count as used. */
  nextSnapshot: z.int().positive(),
  /** For a blob that has grown, the oldest first: snapshots with numbers below `before` have this size. */
  grown: z.array(z.object({ before: z.int().positive(), size: z.int().positive() })).exactOptional(),
  /** Numbers of the snapshots whose journals must exist, oldest first. Unknown for blobs of older versions. */
  chain: z.array(z.int().positive()).exactOptional(),
  /**
   * Snapshots up to this number are unreadable: a journal that they need was missing, and pages have been written
   * since.
   */
  lostUpTo: z.int().positive().exactOptional(),
});
export type BlobRecord = z.infer<typeof blobRecordSchema>;

/** Writes the record of a new blob into a folder that has none. */
export async function createBlobRecord(folder: string, size: number): Promise<void> {
  const record: BlobRecord = { version: 1, size, incarnation: randomBytes(4).toString('hex'), nextSnapshot: 1 };
  await withFile(path.join(folder, FILE), 'wx', async (file) => {
    await writeAt(file, Buffer.from(JSON.stringify(record)), 0);
    await file.sync();
  });
  await syncFolder(folder);
}

export async function replaceBlobRecord(folder: string, record: BlobRecord, files: DurableFiles): Promise<void> {
  await files.replace(path.join(folder, FILE), Buffer.from(JSON.stringify(record)));
}

/** The record of a blob after it has grown to `size`: existing snapshots do not change. */
export const grownRecord = (record: BlobRecord, size: number): BlobRecord => ({
  ...record,
  size,
  grown: [...(record.grown ?? []), { before: record.nextSnapshot, size: record.size }],
});

export const snapshotId = ({ incarnation }: BlobRecord, number: number): string =>
  `${String(number).padStart(10, '0')}-${incarnation}`;

export const numberOfSnapshot = (id: string): number => Number(id.split('-', 1)[0]);

/** @param id of a snapshot. @returns size of the blob when the snapshot was taken, bytes. */
export function sizeAtSnapshot({ size, grown = [] }: BlobRecord, id: string): number {
  const number = numberOfSnapshot(id);
  return grown.find(({ before }) => number < before)?.size ?? size;
}

/** @throws CatalogueError InvalidReplicaState if it is not a valid record. */
export async function readBlobRecord(folder: string): Promise<BlobRecord> {
  const file = path.join(folder, FILE);
  const text = await readFile(file, 'utf8');
  try {
    return blobRecordSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new CatalogueError('InvalidReplicaState', `${file} is not the record of a page blob`, { cause: error });
  }
}
