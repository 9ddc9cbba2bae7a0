/**
 * The change of one disk in a cycle, cut into parts: each is a change file of its own, of bounded size, sent and read back
 * by itself. What was sent before an interruption is not sent again, no store has to take an object of any size, and
 * nothing grows with the backlog. What fits one part is one file, as it always was. Formats: docs/replication.md.
 */
import { setImmediate } from 'node:timers/promises';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import { fenceSchema } from '../domain/fence.js';
import { end } from '../domain/ranges.js';
import { isoTimeSchema } from '../domain/time.js';
import { vaultPaths, type CycleManifest } from '../domain/vault.js';
import type { ChangeRange, CutDisk } from '../ports/hypervisor.js';
import type { ReplicaStore, WriteFence } from '../ports/replica-store.js';
import { checkChange, MAX_ROW_DATA } from './change-file.js';
import { encodeRecord, readRecord } from './vault-record.js';

/** A part ends with the range that reaches one of these. */
export interface PartLimits {
  /** Bytes of content. */
  readonly payload: number;
  /** Of the table, 20 bytes each, which is held in memory while the part is written. */
  readonly rows: number;
}

/** An hour on a line of 1 Mbit/s; an Azure block blob takes hundreds of times as much. */
export const PART_LIMITS: PartLimits = { payload: 512 * 1024 * 1024, rows: 256 * 1024 };

const RANGES_AT_ONCE = 64 * 1024;

/** Which of a disk's ranges, in order, a part takes. */
export interface PlannedPart {
  readonly ranges: number;
  readonly rows: number;
  /** Bytes. */
  readonly payload: number;
  /** Of its longest range with content, bytes; at least 1. */
  readonly longest: number;
}

/**
 * The same change set gives the same parts.
 * @throws CatalogueError LogBroken when the ranges are not what a change set's have to be.
 */
export async function planParts(
  ranges: Iterable<ChangeRange>,
  diskSize: number,
  limits: PartLimits,
): Promise<PlannedPart[]> {
  const parts: PlannedPart[] = [];
  let part = { ranges: 0, rows: 0, payload: 0, longest: 1 };
  let previousEnd = 0;
  let gonePast = 0;
  for (const range of ranges) {
    gonePast += 1;
    // There may be millions, and whoever waits for a sign of life waits for this thread.
    if (gonePast % RANGES_AT_ONCE === 0) await setImmediate();
    checkChange(range, previousEnd, diskSize);
    previousEnd = end(range);
    part.ranges += 1;
    part.rows += range.zero ? 1 : Math.ceil(range.length / MAX_ROW_DATA);
    if (!range.zero) {
      part.payload += range.length;
      part.longest = Math.max(part.longest, range.length);
    }
    if (part.rows < limits.rows && part.payload < limits.payload) continue;
    parts.push(part);
    part = { ranges: 0, rows: 0, payload: 0, longest: 1 };
  }
  if (part.ranges > 0) parts.push(part);
  return parts;
}

type ManifestDisk = CycleManifest['disks'][number];
export type SentPart = NonNullable<ManifestDisk['parts']>[number];

/** What a manifest tells of a disk that took several parts: sums, and a digest of the digests. */
export function manifestOfParts(parts: readonly SentPart[]): Pick<ManifestDisk, 'length' | 'digest' | 'parts'> {
  const hasher = new Blake3Hasher();
  for (const { digest } of parts) hasher.update(Buffer.from(digest, 'hex'));
  return {
    length: parts.reduce((sum, { length }) => sum + length, 0),
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
 * The change files of a disk, in the order of what they change; none when it did not change.
 * @throws CatalogueError LogBroken when the manifest contradicts itself.
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

/** Of one cut, and one plan of its parts. */
const partRecordSchema = z.object({
  ...fenceSchema.shape,
  sealedAt: isoTimeSchema,
  log: z.string(),
  lastWrite: z.int().min(0),
  length: z.int().min(0),
  dataBytes: z.int().min(0),
  ranges: z.int().min(0),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
type PartRecord = z.infer<typeof partRecordSchema>;

/** What tells one part of one cut from every other. */
export type PartIdentity = Omit<PartRecord, 'digest'>;

export const identityOfPart = (
  cut: { readonly epoch: number; readonly sequence: number; readonly sealedAt: string },
  { log, lastWrite }: CutDisk,
  part: Omit<SentPart, 'digest'>,
): PartIdentity => ({ epoch: cut.epoch, sequence: cut.sequence, sealedAt: cut.sealedAt, log, lastWrite, ...part });

const KEYS = ['epoch', 'sequence', 'sealedAt', 'log', 'lastWrite', 'length', 'dataBytes', 'ranges'] as const;

/** @returns the digest of a part that was sent, and read back, before; undefined when it has to be sent. */
export async function sentBefore(
  store: ReplicaStore,
  name: string,
  identity: PartIdentity,
): Promise<string | undefined> {
  const record = await readRecord(store, name, partRecordSchema).catch((error: unknown) => {
    // Only work is lost with it.
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  });
  return record && KEYS.every((key) => record[key] === identity[key]) ? record.digest : undefined;
}

/** Says that a part is there, and was read back. */
export const recordSent = (
  store: ReplicaStore,
  name: string,
  record: PartIdentity & { readonly digest: string },
  fence: WriteFence,
): Promise<void> => store.putObject(name, encodeRecord(partRecordSchema, record), fence);
