/** The parameters of a tracker, and the interfaces that it calls. */
import type { VirtualDisk } from '../disks/disk.js';
import type { FileIdentity } from '../disks/file-identity.js';

export interface TrackerOptions {
  /** Boot id of this machine. */
  readonly bootId: string;
  /** Tracking stops if the volume of the logs has less free space than this, bytes. */
  readonly freeSpaceFloor: number;
  /** Called with failures that no caller awaits. */
  readonly warn: (message: string, error: unknown) => void;
}

/** Something else that takes space beside the disks and can be given up. */
export interface Reserve {
  /**
   * Gives it up. Once this has resolved, it takes no more space; the space it has is freed gradually.
   * @param cause for people. @returns false if there is nothing, or nothing more, to give up.
   */
  giveUp(cause: string): Promise<boolean>;
  /** Whether space that was given up is still being freed. */
  readonly isComingBack: boolean;
}

export const NO_RESERVE: Reserve = { giveUp: () => Promise.resolve(false), isComingBack: false };

/** Called before and after a cut, for work that must be held still during it, as briefly as possible. */
export interface CutMoment {
  /** Must not fail. */
  before(): Promise<void>;
  after(): void;
}

export interface DiskToTrack {
  readonly name: string;
  readonly path: string;
  readonly chain: VirtualDisk;
  /** State of its file before anything is written to it. */
  readonly identity?: FileIdentity | undefined;
  /** The open file as identified by `fileKey`; undefined if it is unknown. */
  readonly file?: string | undefined;
  /** The guest uses the disk, but its writes are not tracked. */
  readonly excluded?: boolean;
}
