/** The epoch a VM is tracked in: its sealed logs, where its open ones are, and whether it is marked. */
import { rm } from 'node:fs/promises';
import type { Cut } from '../ports/change-source.js';
import { logPath, type ChangeLog } from './change-log.js';
import { logError } from './change-log-errors.js';
import type { TrackedDisk } from './tracker-disk.js';
import type { TrackerOptions } from './tracker-options.js';

export class TrackedEpoch {
  readonly cuts = new Map<number, Cut>();
  /** Logs of the cut that is being made, in the order of the disks: nothing joins them, but they are not sealed. */
  sealing: readonly ChangeLog[] = [];
  /** Per disk, in the order of the disks: bytes of each sealed log. */
  readonly #sealedBytes: readonly Map<number, number>[];
  #cause: string | undefined;
  #marking: Promise<void> | undefined;
  #discarding: Promise<void> = Promise.resolve();

  /** @param found of an epoch that was picked up: bytes of the sealed logs, and the mark that is stored already. */
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

  /** Set when the logs no longer tell the whole difference. */
  get resyncCause(): string | undefined {
    return this.#cause;
  }

  /** The first cause counts. Resolves once it is on stable storage; then the logs' space is given back. */
  async mark(cause: string): Promise<void> {
    this.#cause ??= cause;
    this.#marking ??= this.#persistMark(this.#cause).catch((error: unknown) => {
      // Whoever asks next tries again: until it is remembered no write may be acknowledged.
      this.#marking = undefined;
      throw error;
    });
    await this.#marking;
  }

  /** Resolves when the space of marked logs has been given back. */
  async discarded(): Promise<void> {
    await this.#discarding;
  }

  /** Bytes of all logs of a disk. */
  logBytes(disk: TrackedDisk): number {
    const index = this.disks.indexOf(disk);
    let bytes = (disk.log?.bytes ?? 0) + (this.sealing[index]?.bytes ?? 0);
    for (const sealed of this.#sealedBytes[index]!.values()) bytes += sealed;
    return bytes;
  }

  /** The logs that were being sealed are. */
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
    // One is enough: a restart looks at all of them.
    if (failed.length === results.length) throw logError(failed[0]?.reason, 'the change logs');
    this.#discarding = this.#discard().catch((error: unknown) => this.warn('logs could not be discarded', error));
  }

  /** Gives back the space of marked logs. The open ones stay, empty, for their headers. */
  async #discard(): Promise<void> {
    // Those of now: the next epoch may begin meanwhile.
    const marked = this.disks.map((disk) => disk.log);
    for (const log of marked) await log?.discard();
    await this.release(Infinity);
  }
}
