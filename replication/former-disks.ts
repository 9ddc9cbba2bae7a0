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
  { vm, formerDisks = [] }: ReplicaDescription,
  records: PointRecords,
  fence: WriteFence,
): Promise<void> {
  for (const disk of formerDisks) {
    if (isNamed(records, disk)) continue;
    if ((await store.disks.size({ vm, disk })) !== undefined) await store.disks.delete({ vm, disk }, fence);
  }
}

/** Does a point contain this disk, or might it? */
export const isNamed = ({ points, damaged }: PointRecords, disk: string): boolean =>
  damaged.some(({ cycle }) => cycle) || points.some(({ disks }) => disks.some(({ name }) => name === disk));
