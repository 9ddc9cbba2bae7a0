/**
 * The disks of a VM and the tracker above them. They are opened and put down together, so that a change that another
 * program makes to a disk in between is noticed before the disk is written again.
 */
import { CatalogueError } from '../../domain/errors.js';
import { Tracker } from '../../tracking/tracker.js';
import type { Reserve, TrackerOptions } from '../../tracking/tracker-options.js';
import type { VmDisks } from './vm-disks.js';

export class VmTracking {
  #tracker: Tracker | undefined;

  constructor(
    private readonly vm: string,
    private readonly disks: VmDisks,
    private readonly options: TrackerOptions,
    private readonly reserve: Reserve,
  ) {}

  /** Undefined until the disks have been opened for the first time. */
  get tracker(): Tracker | undefined {
    return this.#tracker;
  }

  /** Opens the disks and loads their logs. @throws CatalogueError from either step; the disks are then closed. */
  async load(settle: (tracker: Tracker) => Promise<void>): Promise<void> {
    try {
      await this.disks.open();
      const tracker = await this.#load();
      await settle(tracker);
      this.#tracker = tracker;
    } catch (error) {
      await this.disks.close();
      throw error;
    }
  }

  /** Opens the disks of a VM that is off. @returns the tracker; a new one if the size of a disk has changed. */
  async open(): Promise<Tracker> {
    const tracker = this.#tracker!;
    if (this.disks.areOpen) return tracker;
    await this.disks.open();
    try {
      if (this.disks.fit(tracker)) {
        await tracker.checkRest(await this.disks.identify());
        await tracker.wake(await this.disks.fileKeys());
        this.disks.attach(tracker);
        return tracker;
      }
      // No tracker until the logs are loaded again: if that fails, the next caller retries it.
      this.#tracker = undefined;
      await tracker.close();
      this.#tracker = await this.#load();
      return this.#tracker;
    } catch (error) {
      await this.disks.close(tracker);
      throw error;
    }
  }

  /**
   * Marks the VM if the file at a disk's path is not the open file or, while the VM is off, not the file that was put
   * down.
   */
  async check(): Promise<void> {
    if (this.disks.areOpen) {
      const displaced = await this.disks.displaced();
      if (displaced) await this.#tracker?.mark(displaced.detail);
      return;
    }
    // A missing file has not changed; opening it reports that it is missing.
    const found = await this.disks.identify().catch(() => undefined);
    if (found) await this.#tracker?.checkRest(found);
  }

  /**
   * By how many bytes the size of each disk differs from what the tracker knows: another program may resize it while
   * the VM is off.
   */
  async growth(): Promise<number[]> {
    const { disks = [] } = this.#tracker ?? {};
    if (this.disks.areOpen || !disks.some(({ rest }) => rest)) return disks.map(() => 0);
    const found = await this.disks.identify().catch(() => []);
    return disks.map(({ rest }, index) => (rest ? (found[index]?.size ?? rest.size) - rest.size : 0));
  }

  /** Why the disks of a VM that is off can't be opened; undefined if no reason is found. */
  async obstacle(): Promise<CatalogueError | undefined> {
    if (this.disks.areOpen) return undefined;
    try {
      await this.disks.identify();
      return undefined;
    } catch (error) {
      if (error instanceof CatalogueError) return error;
      throw error;
    }
  }

  /**
   * Flushes and closes the disks, with no request in flight, and records their identities. Has no effect if they are
   * closed.
   */
  async putDown(): Promise<void> {
    if (!this.disks.areOpen) return;
    try {
      await this.#tracker?.flush();
      await this.check();
      const found = await this.disks.identify();
      await this.#tracker?.rest(found);
    } catch (error) {
      this.options.warn(`changes to the disks of ${this.vm} while it is off will not be noticed`, error);
    } finally {
      await this.disks.close(this.#tracker);
    }
  }

  async #load(): Promise<Tracker> {
    return Tracker.load(this.vm, await this.disks.toTrack(), this.options, this.reserve);
  }
}
