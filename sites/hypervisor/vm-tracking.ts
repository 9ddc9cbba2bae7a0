/**
 * The disks of a VM and the tracker above them: opened together, and put down together, so that what somebody else does
 * to a disk in between is noticed before it is written again.
 */
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

  /** Undefined until the disks could be opened once. */
  get tracker(): Tracker | undefined {
    return this.#tracker;
  }

  /** Opens the disks and picks up their logs. @throws CatalogueError of either; all is closed then. */
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

  /** Opens the disks of a VM that is off. @returns the tracker, which is a new one when a disk has another size now. */
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
      // Until the logs are loaded anew there is none: whoever comes next begins with that.
      this.#tracker = undefined;
      await tracker.close();
      this.#tracker = await this.#load();
      return this.#tracker;
    } catch (error) {
      await this.disks.close(tracker);
      throw error;
    }
  }

  /** Marks the VM when what lies at the path of a disk is not what it has open, or, while it is off, not what it put down. */
  async check(): Promise<void> {
    if (this.disks.areOpen) {
      const displaced = await this.disks.displaced();
      if (displaced) await this.#tracker?.mark(displaced.detail);
      return;
    }
    // A file that is gone has not been changed; who opens it says that it is gone.
    const found = await this.disks.identify().catch(() => undefined);
    if (found) await this.#tracker?.checkRest(found);
  }

  /** By how many bytes each disk has another size than the tracker knows: somebody else's doing, while the VM is off. */
  async growth(): Promise<number[]> {
    const { disks = [] } = this.#tracker ?? {};
    if (this.disks.areOpen || !disks.some(({ rest }) => rest)) return disks.map(() => 0);
    const found = await this.disks.identify().catch(() => []);
    return disks.map(({ rest }, index) => (rest ? (found[index]?.size ?? rest.size) - rest.size : 0));
  }

  /** Flushes and closes the disks, with nothing in flight, and remembers what they are. Closed already: nothing. */
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
