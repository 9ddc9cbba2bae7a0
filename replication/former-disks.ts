/** Disks that a VM no longer has: their replica disks stay as long as a recovery point names them. */
import type { ReplicaDescription } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { DiskStore } from '../ports/replica-store.js';
import type { PointRecords } from './point-records.js';

/** The names of all disks that may have a replica in the store. */
export const allDiskNames = ({ disks, formerDisks = [] }: ReplicaDescription): string[] => [
  ...disks.map(({ name }) => name),
  ...formerDisks,
];

/**
 * For a holder of the fence. Repeatable. @param records of all existing points: an unreadable one may name any disk.
 */
export async function dropFormerDisks(
  store: DiskStore,
  description: ReplicaDescription,
  records: PointRecords,
  fence: WriteFence,
): Promise<void> {
  const { vm } = description;
  for (const disk of await unnamedFormerDisks(store, description, records))
    await store.disks.delete({ vm, disk }, fence);
}

/** Those that exist and that no point names. @param records see `dropFormerDisks`. */
export async function unnamedFormerDisks(
  store: DiskStore,
  { vm, formerDisks = [] }: ReplicaDescription,
  records: PointRecords,
): Promise<string[]> {
  const found: string[] = [];
  for (const disk of formerDisks) {
    if (!isNamed(records, disk) && (await store.disks.size({ vm, disk })) !== undefined) found.push(disk);
  }
  return found;
}

/** Does a point contain this disk, or might it? */
export const isNamed = ({ points, damaged }: PointRecords, disk: string): boolean =>
  damaged.some(({ cycle }) => cycle) || points.some(({ disks }) => disks.some(({ name }) => name === disk));
