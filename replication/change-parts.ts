/**
 * The changes of one disk in a cycle, divided into parts. Each part is a separate change file of bounded size, which is
 * sent and read back on its own. Parts sent before an interruption are not sent again, no store has to accept an object
 * of unlimited size, and memory does not grow with the backlog. Changes that fit into one part are one file without a
 * part number. Formats: docs/replication.md.
 */
import { setImmediate } from 'node:timers/promises';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import { fenceSchema } from '../domain/fence.js';
import { end } from '../domain/ranges.js';
import { isoTimeSchema } from '../domain/time.js';
import { vaultPaths, type CycleManifest } from '../domain/vault.js';
import type { ChangeRange, CutDisk } from '../ports/change-source.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { checkChange, MAX_ROW_DATA } from './change-file.js';
import type { WrittenFile } from './change-file-writer.js';
import { piecesIn } from './change-pieces.js';
import { encodeRecord, readRecord } from './vault-record.js';

/** A part ends with the range that reaches one of these limits. */
export interface PartLimits {
  /** Bytes of content. */
  readonly payload: number;
  /** Rows of the table, 20 bytes each; it is held in memory while the part is written. */
  readonly rows: number;
}

/** 512 MiB take an hour on a line of 1 Mbit/s; an Azure block blob may be hundreds of times as large. */
export const PART_LIMITS: PartLimits = { payload: 512 * 1024 * 1024, rows: 256 * 1024 };

const RANGES_AT_ONCE = 64 * 1024;

/** The pieces of a disk, in order, that belong to a part. */
export interface PlannedPart {
  /** One row for each piece. */
  readonly rows: number;
  /** Bytes of content; fewer are sent if some turn out to be zeroes. */
  readonly payload: number;
  /** Length of its longest piece with content, bytes; at least 1. */
  readonly longest: number;
}

/**
 * The same change set always gives the same parts.
 * @throws CatalogueError LogBroken if the ranges violate the rules of a change set.
 */
export async function planParts(
  ranges: AsyncIterable<readonly ChangeRange[]>,
  diskSize: number,
  limits: PartLimits,
): Promise<PlannedPart[]> {
  const parts: PlannedPart[] = [];
  let part = { rows: 0, payload: 0, longest: 1 };
  let previousEnd = 0;
  let gonePast = 0;
  for await (const batch of ranges) {
    gonePast += batch.length;
    // There may be millions of ranges, so give heartbeats a chance to run on this thread.
    if (gonePast >= RANGES_AT_ONCE) {
      gonePast = 0;
      await setImmediate();
    }
    for (const range of batch) {
      checkChange(range, previousEnd, diskSize);
      previousEnd = end(range);
      let left = range.zero ? 0 : range.length;
      for (let pieces = piecesIn(range); pieces > 0; pieces -= 1) {
        const content = Math.min(left, MAX_ROW_DATA);
        left -= content;
        part.rows += 1;
        part.payload += content;
        if (content > part.longest) part.longest = content;
        if (part.rows < limits.rows && part.payload < limits.payload) continue;
        parts.push(part);
        part = { rows: 0, payload: 0, longest: 1 };
      }
    }
  }
  if (part.rows > 0) parts.push(part);
  return parts;
}

type ManifestDisk = CycleManifest['disks'][number];
export type SentPart = NonNullable<ManifestDisk['parts']>[number];

/** The entry of a disk with several parts in the manifest: sums, and a digest of the digests. */
export function manifestOfParts(
  parts: readonly SentPart[],
): Pick<ManifestDisk, 'length' | 'digest' | 'dataBytes' | 'ranges' | 'parts'> {
  const hasher = new Blake3Hasher();
  for (const { digest } of parts) hasher.update(Buffer.from(digest, 'hex'));
  const sum = (key: 'length' | 'dataBytes' | 'ranges') => parts.reduce((total, part) => total + part[key], 0);
  return {
    ...{ length: sum('length'), dataBytes: sum('dataBytes'), ranges: sum('ranges') },
    digest: hasher.digest('hex'),
    parts: [...parts],
  };
}

export interface ChangeFileOfCycle {
  readonly name: string;
  /** Bytes. */
  readonly length: number;
  /** blake3, hex. */
  readonly digest: string;
}

/**
 * The change files of a disk in the order of their changes; none if the disk did not change.
 * @throws CatalogueError LogBroken if the manifest contradicts itself.
 */
export function changeFilesOf({ vm, epoch, sequence }: CycleManifest, disk: ManifestDisk): ChangeFileOfCycle[] {
  const { name, length, digest, parts } = disk;
  if (length === 0) return [];
  if (!parts) return [{ name: vaultPaths.changes(vm, epoch, sequence, name), length, digest }];
  const told = manifestOfParts(parts);
  if (told.length !== length || told.digest !== digest) {
    const manifest = vaultPaths.manifest(vm, epoch, sequence);
    throw new CatalogueError('LogBroken', `${manifest}: the parts of disk ${name} are not those it was made of`);
  }
  return parts.map((part, index) => ({
    name: vaultPaths.changesPart(vm, epoch, sequence, name, index),
    length: part.length,
    digest: part.digest,
  }));
}

/** Identifies a part by its cut and by the plan of the cut's parts. */
const partRecordSchema = z.object({
  ...fenceSchema.shape,
  sealedAt: isoTimeSchema,
  token: z.string(),
  lastWrite: z.int().min(0),
  /** The planned value. */
  payload: z.int().min(0),
  length: z.int().min(0),
  dataBytes: z.int().min(0),
  ranges: z.int().min(0),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
type PartRecord = z.infer<typeof partRecordSchema>;

const KEYS = ['epoch', 'sequence', 'sealedAt', 'token', 'lastWrite', 'payload', 'ranges'] as const;

/** Distinguishes a part from every other part of every cut. */
export type PartIdentity = Pick<PartRecord, (typeof KEYS)[number]>;

export const identityOfPart = (
  cut: { readonly epoch: number; readonly sequence: number; readonly sealedAt: string },
  { token, lastWrite }: CutDisk,
  { payload, rows }: PlannedPart,
): PartIdentity => ({
  ...{ epoch: cut.epoch, sequence: cut.sequence, sealedAt: cut.sealedAt },
  ...{ token, lastWrite, payload, ranges: rows },
});

/** @returns the record of a part that was sent and read back earlier; undefined if the part has to be sent. */
export async function sentBefore(
  store: RecordStore,
  name: string,
  identity: PartIdentity,
): Promise<SentPart | undefined> {
  const record = await readRecord(store.objects, name, partRecordSchema).catch((error: unknown) => {
    // Losing this record only means sending the part again.
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  });
  if (!record || !KEYS.every((key) => record[key] === identity[key])) return undefined;
  const { length, digest, dataBytes, ranges } = record;
  return { length, digest, dataBytes, ranges };
}

/** Records that a part is stored and was read back. */
export const recordSent = (
  store: RecordStore,
  name: string,
  record: PartIdentity & WrittenFile,
  fence: WriteFence,
): Promise<void> => store.objects.put(name, encodeRecord(partRecordSchema, record), fence);
