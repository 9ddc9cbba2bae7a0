/** Disks that a VM does not have any more: their page blobs stay as long as a recovery point names them. */
import type { RecoveryPoint, ReplicaDescription } from '../domain/vault.js';
import { vaultPaths } from '../domain/vault.js';
import type { ReplicaStore, WriteFence } from '../sites/ports.js';

/** Of every disk that may have a page blob in the store. */
export const allDiskNames = ({ disks, formerDisks = [] }: ReplicaDescription): string[] => [
  ...disks.map(({ name }) => name),
  ...formerDisks,
];

/** For a holder of the fence. Repeated: nothing. @param points all there are. */
export async function dropFormerDisks(
  store: ReplicaStore,
  { vm, formerDisks = [] }: ReplicaDescription,
  points: readonly RecoveryPoint[],
  fence: WriteFence,
): Promise<void> {
  for (const disk of formerDisks) {
    if (isNamed(points, disk)) continue;
    const blob = vaultPaths.disk(vm, disk);
    if ((await store.pageBlobSize(blob)) !== undefined) await store.deletePageBlob(blob, fence);
  }
}

/** Does a point hold this disk? */
export const isNamed = (points: readonly RecoveryPoint[], disk: string): boolean =>
  points.some(({ disks }) => disks.some(({ name }) => name === disk));
