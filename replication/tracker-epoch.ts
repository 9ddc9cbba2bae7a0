/** The sealed logs of the epoch a VM is tracked in, and where its open logs are. */
import { rm } from 'node:fs/promises';
import type { Cut } from '../sites/ports.js';
import { logPath, type ChangeLog } from './change-log.js';
import type { TrackedDisk } from './tracker-disk.js';

export class TrackedEpoch {
  readonly cuts = new Map<number, Cut>();
  /** Logs of the cut that is being made, in the order of the disks: nothing joins them, but they are not sealed. */
  sealing: readonly ChangeLog[] = [];
  /** Per disk, in the order of the disks: bytes of each sealed log. */
  readonly #sealedBytes: readonly Map<number, number>[];

  constructor(
    readonly epoch: number,
    public openSequence: number,
    private readonly disks: readonly TrackedDisk[],
    sealedBytes: readonly Map<number, number>[] = [],
  ) {
    this.#sealedBytes = disks.map((_, index) => sealedBytes[index] ?? new Map());
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

  /** Gives back the space of marked logs. The open ones stay, empty, for their headers. */
  async discard(): Promise<void> {
    for (const disk of this.disks) await disk.log?.discard();
    await this.release(Infinity);
  }
}
