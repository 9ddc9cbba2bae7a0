/** The epoch in which a VM is tracked: its sealed logs, its open logs, and its mark. */
import { rm } from 'node:fs/promises';
import type { Cut } from '../ports/change-source.js';
import { logPath, type ChangeLog } from './change-log.js';
import { logError } from './change-log-errors.js';
import type { TrackedDisk } from './tracker-disk.js';
import type { TrackerOptions } from './tracker-options.js';

export class TrackedEpoch {
  readonly cuts = new Map<number, Cut>();
  /** Logs of the cut in progress, in the order of the disks: nothing joins them, but they are not sealed yet. */
  sealing: readonly ChangeLog[] = [];
  /** For each disk, in order: the size of each sealed log, bytes. */
  readonly #sealedBytes: readonly Map<number, number>[];
  #cause: string | undefined;
  #marking: Promise<void> | undefined;
  #discarding: Promise<void> = Promise.resolve();

  /**
   * @param found state of an epoch that is being resumed: sizes of the sealed logs, and a mark that is already stored.
   */
  constructor(
    readonly epoch: number,
    public openSequence: number,
    private readonly disks: readonly TrackedDisk[],
    private readonly warn: TrackerOptions['warn'],
    found: { sealedBytes?: readonly Map<number, number>[]; resyncCause?: string | undefined } = {},
  ) {
    this.#sealedBytes = disks.map((_, index) => found.sealedBytes?.[index] ?? new Map());
    this.#cause = found.resyncCause;
    if (found.resyncCause !== undefined) this.#marking = Promise.resolve();
  }

  /** Set when the logs no longer describe the whole difference. */
  get resyncCause(): string | undefined {
    return this.#cause;
  }

  /** The first cause is kept. Resolves when it is on stable storage; after that, the logs' space is freed. */
  async mark(cause: string): Promise<void> {
    this.#cause ??= cause;
    this.#marking ??= this.#persistMark(this.#cause).catch((error: unknown) => {
      // The next caller tries again: no write may be acknowledged until the mark is stored.
      this.#marking = undefined;
      throw error;
    });
    await this.#marking;
  }

  /** Resolves when the space of marked logs has been freed. */
  async discarded(): Promise<void> {
    await this.#discarding;
  }

  /** Size of all logs of a disk, bytes. */
  logBytes(disk: TrackedDisk): number {
    const index = this.disks.indexOf(disk);
    let bytes = (disk.log?.bytes ?? 0) + (this.sealing[index]?.bytes ?? 0);
    for (const sealed of this.#sealedBytes[index]!.values()) bytes += sealed;
    return bytes;
  }

  /** The logs that were being sealed are sealed. */
  sealed(cut: Cut): void {
    for (const [index, log] of this.sealing.entries()) this.#sealedBytes[index]!.set(cut.sequence, log.bytes);
    this.sealing = [];
    this.cuts.set(cut.sequence, cut);
  }

  /** Deletes sealed logs up to and including a sequence, the oldest first. */
  async release(upTo: number): Promise<void> {
    for (const sequence of [...this.cuts.keys()].sort((a, b) => a - b)) {
      if (sequence > upTo) break;
      this.cuts.delete(sequence);
      for (const [index, disk] of this.disks.entries()) {
        await rm(logPath(disk.path, this.epoch, sequence), { force: true });
        this.#sealedBytes[index]!.delete(sequence);
      }
    }
  }

  async #persistMark(cause: string): Promise<void> {
    const results = await Promise.allSettled(this.disks.map((disk) => disk.log!.mark(cause)));
    const failed = results.filter((result) => result.status === 'rejected');
    // One stored mark is enough, because a restart reads all logs.
    if (failed.length === results.length) throw logError(failed[0]?.reason, 'the change logs');
    this.#discarding = this.#discard().catch((error: unknown) => this.warn('logs could not be discarded', error));
  }

  /** Frees the space of marked logs. The open logs stay, empty, for their headers. */
  async #discard(): Promise<void> {
    // The current logs: the next epoch may begin meanwhile.
    const marked = this.disks.map((disk) => disk.log);
    for (const log of marked) await log?.discard();
    await this.release(Infinity);
  }
}
