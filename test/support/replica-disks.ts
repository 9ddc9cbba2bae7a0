/** Replica disks, opened for one call. */
import type { Fence } from '../../domain/fence.js';
import type { DiskAddress, DiskWrite, ReplicaDisks } from '../../ports/replica-disks.js';

/** A part of what a disk holds, or held when a snapshot was taken. */
export async function readDisk(
  disks: ReplicaDisks,
  disk: DiskAddress,
  offset: number,
  length: number,
  snapshot?: string,
): Promise<Buffer> {
  const opened = await disks.openReadOnly(disk, snapshot);
  const target = Buffer.allocUnsafe(length);
  await opened.read(target, offset);
  await opened.close();
  return target;
}

export async function writeDisk(
  disks: ReplicaDisks,
  disk: DiskAddress,
  writes: readonly DiskWrite[],
  fence: Fence,
): Promise<void> {
  const opened = await disks.open(disk, fence);
  await opened.write(writes);
  await opened.close();
}
