/** A replica VM's disk: an overlay above a recovery point, which stays unchanged in the store. */
import type { VirtualDisk } from '../../disks/disk.js';
import { OverlayDisk } from '../../disks/overlay.js';
import type { DiskAddress, ReplicaDisks } from '../../ports/replica-disks.js';
import { SnapshotDisk } from './snapshot-disk.js';

/** A replica disk in the store at a recovery point. */
export interface PointDisk {
  readonly replica: DiskAddress;
  readonly snapshot: string;
}

export type PointDisks = Pick<ReplicaDisks, 'openReadOnly'>;

/** Creates an empty overlay above the point; keeps an overlay that exists. @param size of the source disk, bytes. */
export async function createReplicaDisk(
  path: string,
  size: number,
  point: PointDisk,
  store: PointDisks,
): Promise<void> {
  await openAbove(size, point, store, (base) => OverlayDisk.create(path, base)).then((disk) => disk.close());
}

/** @param options.readOnly see `OverlayDisk.open`. */
export async function openReplicaDisk(
  path: string,
  size: number,
  point: PointDisk,
  store: PointDisks,
  options: { readOnly?: boolean } = {},
): Promise<VirtualDisk> {
  return openAbove(size, point, store, (base) => OverlayDisk.open(path, base, options));
}

/** Closing the disk also closes its base. */
async function openAbove(
  size: number,
  { replica, snapshot }: PointDisk,
  store: PointDisks,
  open: (base: SnapshotDisk) => Promise<OverlayDisk>,
): Promise<VirtualDisk> {
  const base = await SnapshotDisk.open(store, replica, snapshot, size);
  try {
    const overlay = await open(base);
    const close = overlay.close.bind(overlay);
    overlay.close = async () => {
      try {
        await close();
      } finally {
        await base.close();
      }
    };
    return overlay;
  } catch (error) {
    await base.close();
    throw error;
  }
}
