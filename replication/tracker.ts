/**
 * Tracks the writes of a VM in one `.hrl` log per disk, and cuts them into cycles. Needs nobody else alive: when the
 * logs would outgrow what they are worth it stops by itself, says why on stable storage, and the guest goes on.
 */
import { dirname } from 'node:path';
import { formatBytes } from '../domain/bytes.js';
import { CatalogueError } from '../domain/errors.js';
import { formatFence, type Fence } from '../domain/fence.js';
import { toIso } from '../domain/time.js';
import type { Cut, TrackingState } from '../sites/ports.js';
import type { ChangeLog } from './change-log.js';
import { logError } from './change-log-errors.js';
import { TrackedDisk, UNTRACKED, type TrackerOfDisk } from './tracker-disk.js';
import { loadTracking, type LoadedTracking } from './tracker-load.js';
import { TrackedEpoch } from './tracker-epoch.js';
import { createLogs, dropLogs, removeLogs } from './tracker-logs.js';
import type { CutMoment, DiskToTrack, TrackerOptions } from './tracker-options.js';
import { changeAtRest, putDown, takeUp, type Identities } from './tracker-rest.js';
import { SpaceWatch } from './tracker-space.js';

/** Beyond this part of a disk's size a resynchronization is cheaper than its logs. */
const MAX_LOG_SHARE = 0.5;

export class Tracker implements TrackerOfDisk {
  /** All of the VM, in their order. */
  readonly disks: readonly TrackedDisk[];
  /** Those that are not excluded. */
  readonly #tracked: readonly TrackedDisk[];
  #current: TrackedEpoch | undefined;
  #cause: string | undefined;
  #marking: Promise<void> | undefined;
  #discarding: Promise<void> = Promise.resolve();
  readonly #space: SpaceWatch;

  private constructor(
    private readonly vm: string,
    disks: readonly DiskToTrack[],
    private readonly options: TrackerOptions,
  ) {
    this.disks = disks.map(
      ({ name, path, chain, excluded }) => new TrackedDisk(name, path, chain.size, chain, excluded ? UNTRACKED : this),
    );
    this.#tracked = this.disks.filter((_, index) => !disks[index]!.excluded);
    this.#space = new SpaceWatch(
      this.#tracked.map((disk) => disk.path),
      options.freeSpaceFloor,
    );
  }

  /**
   * Picks up what was being tracked, replaying what a killed process left undone.
   * @throws CatalogueError of reading logs and writing disks; what is wrong with the logs themselves marks the VM.
   */
  static async load(vm: string, disks: readonly DiskToTrack[], options: TrackerOptions): Promise<Tracker> {
    const tracker = new Tracker(vm, disks, options);
    try {
      const loaded = await loadTracking(vm, disks, options.bootId);
      if (loaded) tracker.#adopt(loaded);
    } catch (error) {
      throw logError(error, dirname(disks[0]?.path ?? ''));
    }
    return tracker;
  }

  #adopt(loaded: LoadedTracking): void {
    this.#current = new TrackedEpoch(loaded.epoch, loaded.openSequence, this.#tracked, loaded.sealedBytes);
    for (const cut of loaded.cuts) this.#current.cuts.set(cut.sequence, cut);
    this.#cause = loaded.resyncCause;
    if (loaded.resyncCause !== undefined) this.#marking = Promise.resolve();
    for (const [index, disk] of this.#tracked.entries()) disk.log = loaded.logs[index]!;
  }

  get state(): TrackingState | undefined {
    if (!this.#current) return undefined;
    return {
      epoch: this.#current.epoch,
      openSequence: this.#current.openSequence,
      ...(this.#cause === undefined ? {} : { resyncCause: this.#cause }),
      lastWrites: Object.fromEntries(this.#tracked.map((disk) => [disk.name, disk.log?.lastWrite ?? 0])),
    };
  }

  get resyncCause(): string | undefined {
    return this.#cause;
  }

  /** Bytes of all `.hrl` files of a disk. */
  logBytes(disk: TrackedDisk): number {
    return this.#tracked.includes(disk) ? (this.#current?.logBytes(disk) ?? 0) : 0;
  }

  /** Holds guests back; resolves when nothing is in flight on any disk. */
  async pause(): Promise<void> {
    await Promise.all(this.disks.map((disk) => disk.pause()));
  }

  resume(): void {
    for (const disk of this.disks) disk.resume();
  }

  appended(disk: TrackedDisk, bytes: number): void {
    if (this.logBytes(disk) >= disk.size * MAX_LOG_SHARE) {
      this.#stopTracking(
        `the change logs of disk ${disk.name} have reached ${MAX_LOG_SHARE * 100} % of its size, ${formatBytes(disk.size)}`,
      );
    }
    if (!this.#space.isDue(bytes)) return;
    this.#space
      .shortage()
      .then((shortage) => shortage !== undefined && this.#stopTracking(shortage))
      .catch((error: unknown) => this.options.warn('the free space could not be determined', error));
  }

  async mark(cause: string): Promise<void> {
    if (!this.#current) return;
    this.#cause ??= cause;
    this.#marking ??= this.#persistMark(this.#cause).catch((error: unknown) => {
      // Whoever asks next tries again: until it is remembered no write may be acknowledged.
      this.#marking = undefined;
      throw error;
    });
    await this.#marking;
  }

  /**
   * Begins an epoch: empty logs, sequence 1. To be called while paused. Already at that epoch: nothing.
   * @throws CatalogueError StaleEpoch, SourceDiskFull, AuthorizationFailed
   */
  async start(epoch: number): Promise<void> {
    const current = this.#current?.epoch ?? 0;
    if (epoch === current) return;
    if (epoch < current)
      throw new CatalogueError('StaleEpoch', `${this.vm} is tracked in epoch ${current}, not ${epoch}`);
    const shortage = await this.#space.shortage();
    if (shortage !== undefined) throw new CatalogueError('SourceDiskFull', `${this.vm}: ${shortage}`);
    const logs = await this.#createLogs(epoch, 1, { firstWrite: 1, openedByFinalCut: false });
    const old = this.#openLogs();
    this.#current = new TrackedEpoch(epoch, 1, this.#tracked);
    this.#cause = undefined;
    this.#marking = undefined;
    for (const [index, disk] of this.#tracked.entries()) disk.log = logs[index]!;
    await this.#remove(old, epoch);
  }

  /** Ends tracking and deletes the logs. Repeated: nothing. */
  async stop(): Promise<void> {
    const old = this.#openLogs();
    this.#current = undefined;
    this.#cause = undefined;
    this.#marking = undefined;
    for (const disk of this.disks) disk.log = undefined;
    await this.#remove(old);
  }

  /**
   * Seals the open logs of all disks at one instant and opens the next. One at a time.
   * @param final the VM is shut down: nothing can follow.
   * @throws CatalogueError ResyncRequired (not tracked, too), StaleEpoch, OutOfSequence, SourceDiskFull
   */
  async cut(fence: Fence, final: boolean, moment?: CutMoment): Promise<Cut> {
    const current = this.#at(fence);
    const made = current.cuts.get(fence.sequence);
    if (made) return made;
    if (fence.sequence !== current.openSequence) {
      throw new CatalogueError(
        'OutOfSequence',
        `${this.vm}: asked to cut ${formatFence(fence)}, open is sequence ${current.openSequence}`,
      );
    }
    const next = await this.#createLogs(fence.epoch, fence.sequence + 1, { firstWrite: 0, openedByFinalCut: final });
    await moment?.before();
    if (this.#cause !== undefined) {
      await dropLogs(next);
      throw new CatalogueError('ResyncRequired', `${this.vm}: ${this.#cause}`);
    }
    // The cut: from here on writes join the next logs. Nothing in this part may wait.
    const sealedAt = Date.now();
    const sealing = this.#tracked.map((disk) => disk.log!);
    for (const [index, disk] of this.#tracked.entries()) {
      next[index]!.switchTo(sealing[index]!.lastWrite + 1, sealedAt);
      disk.log = next[index]!;
    }
    current.sealing = sealing;
    current.openSequence += 1;
    moment?.after();

    await this.#seal(current, next, sealedAt, final);
    const cut: Cut = {
      vm: this.vm,
      epoch: fence.epoch,
      sequence: fence.sequence,
      sealedAt: toIso(sealedAt),
      final,
      disks: this.#tracked.map((disk, index) => {
        const log = sealing[index]!;
        return { name: disk.name, size: disk.size, log: log.name, lastWrite: log.lastWrite };
      }),
    };
    current.sealed(cut);
    return cut;
  }

  /** Deletes sealed logs up to and including this sequence; those of another epoch are gone already. */
  async releaseLogs(fence: Fence): Promise<void> {
    if (this.#current?.epoch === fence.epoch) await this.#current.release(fence.sequence);
  }

  /** See `putDown`. To be followed by `wake` before the disks are written again. */
  async rest(found: Identities): Promise<void> {
    if (this.#cause === undefined) await putDown(this.disks, found);
  }

  /** Of disks that were put down: marks the VM when somebody has changed one since. */
  async checkRest(found: Identities): Promise<void> {
    const change = changeAtRest(this.disks, found);
    if (change !== undefined) await this.mark(change);
  }

  wake(): Promise<void> {
    return takeUp(this.disks);
  }

  /** Puts the logs down in order; nothing may be in flight, and what is on the disks must have been flushed. */
  async close(): Promise<void> {
    await this.#discarding;
    for (const disk of this.disks) {
      await disk.log?.close();
      disk.log = undefined;
    }
  }

  #at(fence: Fence): TrackedEpoch {
    if (!this.#current) throw new CatalogueError('ResyncRequired', `the changes of ${this.vm} are not tracked here`);
    const { epoch } = this.#current;
    if (fence.epoch < epoch) throw new CatalogueError('StaleEpoch', `${this.vm} is tracked in epoch ${epoch}`);
    if (fence.epoch > epoch) {
      throw new CatalogueError('OutOfSequence', `${this.vm} is tracked in epoch ${epoch}, not ${fence.epoch}`);
    }
    if (this.#cause !== undefined) throw new CatalogueError('ResyncRequired', `${this.vm}: ${this.#cause}`);
    return this.#current;
  }

  async #seal(current: TrackedEpoch, next: readonly ChangeLog[], sealedAt: number, final: boolean): Promise<void> {
    try {
      // First, as the logs before are gone after a release and could not tell any more.
      await Promise.all(next.map((log) => log.persistFirstWrite()));
      await Promise.all(current.sealing.map((log) => log.seal(sealedAt, final)));
    } catch (error) {
      await this.mark(`a change log could not be sealed: ${(error as Error).message}`);
    }
    if (this.#cause !== undefined) {
      // The open logs carry the mark; these are good for nothing any more.
      await this.mark(this.#cause);
      await dropLogs(current.sealing);
      current.sealing = [];
      throw new CatalogueError('ResyncRequired', `${this.vm}: ${this.#cause}`);
    }
  }

  #createLogs(
    epoch: number,
    sequence: number,
    opened: { firstWrite: number; openedByFinalCut: boolean },
  ): Promise<ChangeLog[]> {
    return createLogs(this.#tracked, { vm: this.vm, bootId: this.options.bootId, epoch, sequence, ...opened });
  }

  #openLogs(): ChangeLog[] {
    return [...this.disks.flatMap((disk) => disk.log ?? []), ...(this.#current?.sealing ?? [])];
  }

  async #remove(open: readonly ChangeLog[], beforeEpoch?: number): Promise<void> {
    await this.#discarding;
    for (const log of open) await log.abandon();
    await removeLogs(this.disks, beforeEpoch);
  }

  #stopTracking(cause: string): void {
    if (this.#cause !== undefined) return;
    this.mark(cause).catch((error: unknown) => this.options.warn(`the mark of ${this.vm} could not be stored`, error));
  }

  async #persistMark(cause: string): Promise<void> {
    const results = await Promise.allSettled(this.#tracked.map((disk) => disk.log!.mark(cause)));
    const failed = results.filter((result) => result.status === 'rejected');
    // One is enough: a restart looks at all of them.
    if (failed.length === results.length) throw logError(failed[0]?.reason, `the change logs of ${this.vm}`);
    this.#discarding = this.#current!.discard().catch((error: unknown) =>
      this.options.warn(`logs of ${this.vm} could not be discarded`, error),
    );
  }
}
