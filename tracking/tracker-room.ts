/**
 * Space for data that replication writes beside the disks of a VM. The guest comes first: at the floor of free space,
 * the VM snapshot is given up, then tracking. If a disk write finds its volume full, it is repeated after both are
 * gone.
 */
import { CatalogueError } from '../domain/errors.js';
import { SpaceWatch } from './tracker-space.js';
import type { Reserve, TrackerOptions } from './tracker-options.js';

/** Called by a disk around its writes. */
export interface RoomBeside {
  /**
   * @returns a promise to await before this many bytes are written beside the disk, if any. It does not reject. Call
   * `written` afterwards.
   */
  make(bytes: number): Promise<void> | undefined;
  written(bytes: number): void;
  /** The disk's volume is full. @returns whether something was given up, so that the write can be repeated. */
  free(cause: string): Promise<boolean>;
}

export const NO_ROOM: RoomBeside = {
  make: () => undefined,
  written: () => undefined,
  free: () => Promise.resolve(false),
};

/** The tracker that uses this space. */
export interface Tracking {
  readonly vm: string;
  /** Undefined while the VM is not tracked. */
  readonly state: { readonly resyncCause?: string } | undefined;
  mark(cause: string): Promise<void>;
  discarded(): Promise<void>;
}

export class Room implements RoomBeside {
  readonly #space: SpaceWatch;
  #making: Promise<void> | undefined;

  /** @param paths of the tracked disks. */
  constructor(
    private readonly tracking: Tracking,
    paths: readonly string[],
    private readonly options: TrackerOptions,
    private readonly reserve: Reserve,
  ) {
    this.#space = new SpaceWatch(paths, options.freeSpaceFloor);
  }

  /** To be called before work begins that writes beside the disks. @throws CatalogueError SourceDiskFull */
  async require(): Promise<void> {
    const shortage = await this.#space.shortage();
    if (shortage) throw new CatalogueError('SourceDiskFull', `${this.tracking.vm}: ${shortage.detail}`);
  }

  make(bytes: number): Promise<void> | undefined {
    if (this.#space.take(bytes)) return undefined;
    this.#making ??= this.#look().finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  written(bytes: number): void {
    this.#space.written(bytes);
  }

  async free(cause: string): Promise<boolean> {
    if (await this.reserve.giveUp(cause)) return true;
    const { state } = this.tracking;
    if (!state || state.resyncCause !== undefined) return false;
    await this.tracking.mark(cause);
    await this.tracking.discarded();
    return true;
  }

  async #look(): Promise<void> {
    try {
      const shortage = await this.#space.shortage();
      if (!shortage) return;
      const wasGivenUp = await this.reserve.giveUp(shortage.detail);
      if (!shortage.severe && (wasGivenUp || this.reserve.isComingBack)) return;
      await this.tracking.mark(shortage.detail);
    } catch (error) {
      this.options.warn('space beside the disks could not be reserved', error);
    }
  }
}
