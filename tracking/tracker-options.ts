/** What a tracker is given, and whom it tells of a cut. */
import type { VirtualDisk } from '../disks/disk.js';
import type { FileIdentity } from '../disks/file-identity.js';

export interface TrackerOptions {
  /** Of this machine since it was started. */
  readonly bootId: string;
  /** Tracking stops when a folder with logs has less free space, bytes. */
  readonly freeSpaceFloor: number;
  /** What went wrong without anybody waiting for it. */
  readonly warn: (message: string, error: unknown) => void;
}

/** What else takes space beside the disks, and can be done without. */
export interface Reserve {
  /**
   * Gives it up, and takes no more space from when it resolves on; what it has comes back by and by.
   * @param cause for people. @returns false when there is nothing, or nothing more, to give up.
   */
  giveUp(cause: string): Promise<boolean>;
  /** Whether something that was given up is still coming back. */
  readonly isComingBack: boolean;
}

export const NO_RESERVE: Reserve = { giveUp: () => Promise.resolve(false), isComingBack: false };

/** Told when a cut is about to be made, and when it is: what has to be held still for it is so as briefly as possible. */
export interface CutMoment {
  /** Must not fail. */
  before(): Promise<void>;
  after(): void;
}

export interface DiskToTrack {
  readonly name: string;
  readonly path: string;
  readonly chain: VirtualDisk;
  /** Of its file, as it is before anything is written to it. */
  readonly identity?: FileIdentity | undefined;
  /** Which file is open, as `fileKey` tells; undefined where that can't be told. */
  readonly file?: string | undefined;
  /** The guest has it, and nobody else: its writes are not tracked. */
  readonly excluded?: boolean;
}
