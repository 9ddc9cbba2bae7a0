/**
 * Tracks the writes of a VM in one `.hrl` log for each disk, and cuts them into cycles. Depends on no other process: if
 * the logs grow too large, it stops by itself, stores the reason, and the guest keeps running.
 */
import { dirname } from 'node:path';
import { settleAll } from '../disks/settle-all.js';
import { formatBytes } from '../domain/bytes.js';
import { CatalogueError } from '../domain/errors.js';
import { formatFence, type Fence } from '../domain/fence.js';
import { toIso } from '../domain/time.js';
import type { Cut, CutIdentity } from '../ports/change-source.js';
import type { TrackingState } from '../ports/hypervisor-vm.js';
import type { ChangeLog } from './change-log.js';
import { logError } from './change-log-errors.js';
import { TrackedDisk, UNTRACKED, type TrackerOfDisk } from './tracker-disk.js';
import { loadTracking, type LoadedTracking } from './tracker-load.js';
import { TrackedEpoch } from './tracker-epoch.js';
import { createLogs, dropLogs, removeLogs } from './tracker-logs.js';
import { NO_RESERVE, type CutMoment, type DiskToTrack, type Reserve, type TrackerOptions } from './tracker-options.js';
import { changeAtRest, putDown, takeUp, type Identities } from './tracker-rest.js';
import { NO_ROOM, Room } from './tracker-room.js';

/** Above this share of a disk's size, a resynchronization is cheaper than the logs. */
const MAX_LOG_SHARE = 0.5;

export class Tracker implements TrackerOfDisk {
  /** All disks of the VM, in their order. */
  readonly disks: readonly TrackedDisk[];
  /** The disks that are not excluded. */
  readonly #tracked: readonly TrackedDisk[];
  #current: TrackedEpoch | undefined;
  readonly room: Room;

  private constructor(
    readonly vm: string,
    disks: readonly DiskToTrack[],
    private readonly options: TrackerOptions,
    reserve: Reserve,
  ) {
    this.disks = disks.map((disk) => new TrackedDisk(disk, disk.excluded ? this.#ofExcluded() : this));
    this.#tracked = this.disks.filter((_, index) => !disks[index]!.excluded);
    const paths = this.#tracked.map((disk) => disk.path);
    this.room = new Room(this, paths, options, reserve);
  }

  /**
   * Resumes tracking after a restart, and replays writes that a killed process left undone.
   * @throws CatalogueError for failures of reading logs and writing disks; faults of the logs themselves mark the VM.
   */
  static async load(
    vm: string,
    disks: readonly DiskToTrack[],
    options: TrackerOptions,
    reserve = NO_RESERVE,
  ): Promise<Tracker> {
    const tracker = new Tracker(vm, disks, options, reserve);
    try {
      const loaded = await loadTracking(vm, disks, options.bootId);
      if (loaded) tracker.#adopt(loaded);
    } catch (error) {
      throw logError(error, dirname(disks[0]?.path ?? ''));
    }
    return tracker;
  }

  #adopt(loaded: LoadedTracking): void {
    this.#current = new TrackedEpoch(loaded.epoch, loaded.openSequence, this.#tracked, this.options.warn, loaded);
    for (const cut of loaded.cuts) this.#current.cuts.set(cut.sequence, cut);
    for (const [index, disk] of this.#tracked.entries()) disk.log = loaded.logs[index]!;
  }

  get state(): TrackingState | undefined {
    if (!this.#current) return undefined;
    return {
      epoch: this.#current.epoch,
      openSequence: this.#current.openSequence,
      ...(this.resyncCause === undefined ? {} : { resyncCause: this.resyncCause }),
      lastWrites: Object.fromEntries(this.#tracked.map((disk) => [disk.name, disk.log?.lastWrite ?? 0])),
    };
  }

  get resyncCause(): string | undefined {
    return this.#current?.resyncCause;
  }

  /** Size of all `.hrl` files of a disk, bytes. */
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

  /**
   * Syncs all disks, whether or not requests are held back. Call it as well before continuing after a failure on the
   * disks: a failed sync fails again, and marks the VM.
   * @throws the first failure; the VM is marked then.
   */
  async flush(): Promise<void> {
    await settleAll(this.disks.map((disk) => disk.sync()));
  }

  appended(disk: TrackedDisk): void {
    if (this.logBytes(disk) < disk.size * MAX_LOG_SHARE) return;
    this.#stopTracking(
      `the change logs of disk ${disk.name} have reached ${MAX_LOG_SHARE * 100} % of its size, ${formatBytes(disk.size)}`,
    );
  }

  /** An excluded disk may be on the same volume: if that is full, replication gives up its space for the disk, too. */
  #ofExcluded(): TrackerOfDisk {
    return { ...UNTRACKED, room: { ...NO_ROOM, free: (cause) => this.room.free(cause) } };
  }

  async mark(cause: string): Promise<void> {
    await this.#current?.mark(cause);
  }

  /**
   * Begins an epoch with empty logs at sequence 1. Call it while paused. Does nothing if the epoch is already current.
   * @throws CatalogueError StaleEpoch, SourceDiskFull, AuthorizationFailed
   */
  async start(epoch: number): Promise<void> {
    const current = this.#current?.epoch ?? 0;
    if (epoch === current) return;
    if (epoch < current)
      throw new CatalogueError('StaleEpoch', `${this.vm} is tracked in epoch ${current}, not ${epoch}`);
    await this.room.require();
    const logs = await this.#createLogs(epoch, 1, { firstWrite: 1, openedByFinalCut: false });
    const old = this.#takeOpenLogs();
    this.#current = new TrackedEpoch(epoch, 1, this.#tracked, this.options.warn);
    for (const [index, disk] of this.#tracked.entries()) disk.log = logs[index]!;
    for (const log of await old) await log.abandon();
    await removeLogs(this.disks, epoch);
  }

  /** Ends tracking and deletes the logs. Repeatable. */
  async stop(): Promise<void> {
    const old = this.#takeOpenLogs();
    this.#current = undefined;
    for (const disk of this.disks) disk.log = undefined;
    for (const log of await old) await log.abandon();
    await removeLogs(this.disks);
  }

  /**
   * Seals the open logs of all disks at one instant and opens the next ones. Only one cut at a time.
   * @param final the VM is shut down, so nothing can follow.
   * @throws CatalogueError ResyncRequired (also if the VM is not tracked), StaleEpoch, OutOfSequence, SourceDiskFull
   */
  async cut(fence: Fence, final: boolean, moment?: CutMoment): Promise<Cut> {
    const current = this.#at(fence);
    const made = current.cuts.get(fence.sequence);
    if (made) return made;
    if (fence.sequence !== current.openSequence) {
      throw new CatalogueError(
        'OutOfSequence',
        `${this.vm}: asked to cut ${formatFence(fence)}, but the open sequence is ${current.openSequence}`,
      );
    }
    const next = await this.#createLogs(fence.epoch, fence.sequence + 1, { firstWrite: 0, openedByFinalCut: final });
    await moment?.before();
    if (this.resyncCause !== undefined) {
      await dropLogs(next);
      throw new CatalogueError('ResyncRequired', `${this.vm}: ${this.resyncCause}`);
    }
    // The cut: from here on, writes join the next logs. This part must be synchronous.
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
        return { name: disk.name, size: disk.size, token: log.name, lastWrite: log.lastWrite };
      }),
    };
    current.sealed(cut);
    return cut;
  }

  /** A cut that was made and has not been released. @throws CatalogueError CutGone, and those of `cut` */
  madeCut(fence: Fence): Cut {
    const made = this.#at(fence).cuts.get(fence.sequence);
    if (made) return made;
    throw new CatalogueError('CutGone', `${this.vm}: there are no sealed logs of ${formatFence(fence)}`);
  }

  /**
   * Deletes sealed logs up to and including this cut; those of other epochs are already gone.
   * @throws CatalogueError CutGone if the cut was never made here.
   */
  async releaseCuts(upTo: CutIdentity): Promise<void> {
    const current = this.#current;
    if (current?.epoch !== upTo.epoch) return;
    const made = current.cuts.get(upTo.sequence);
    if (made ? !isSameCut(made, upTo) : upTo.sequence >= current.openSequence) {
      throw new CatalogueError('CutGone', `${this.vm}: ${formatFence(upTo)} was cut differently, or not at all`);
    }
    await current.release(upTo.sequence);
  }

  /** See `putDown`. Call `wake` before the disks are written again. */
  async rest(found: Identities): Promise<void> {
    if (this.resyncCause !== undefined) return;
    await this.#orMark('a change log could not be flushed to disk', () => putDown(this.disks, found));
  }

  /** For closed disks: marks the VM if one was changed since it was closed. */
  async checkRest(found: Identities): Promise<void> {
    const change = changeAtRest(this.disks, found);
    if (change !== undefined) await this.mark(change);
  }

  /** @param files identities of the open files, in the order of the disks. */
  async wake(files: readonly (string | undefined)[]): Promise<void> {
    await this.#orMark('a change log could not be reopened', () => takeUp(this.disks, files));
  }

  /** Closes the logs in order; nothing may be in flight, and the disks must have been flushed. */
  async close(): Promise<void> {
    await this.#current?.discarded();
    if (this.resyncCause === undefined) {
      // Sync all logs before the first one is marked as closed: a VM's mark must find them open.
      await this.#orMark('a change log could not be flushed to disk', () =>
        settleAll(this.#tracked.map(async (disk) => disk.log?.sync())),
      );
    }
    for (const disk of this.disks) {
      await disk.log?.close();
      disk.log = undefined;
    }
  }

  /**
   * Marks the VM on failure: the system may forget data that a log could not store, so the logs are no longer complete.
   */
  async #orMark(what: string, action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      await this.mark(`${what}: ${(error as Error).message}`);
      throw error;
    }
  }

  #at(fence: Fence): TrackedEpoch {
    if (!this.#current) throw new CatalogueError('ResyncRequired', `the changes of ${this.vm} are not tracked here`);
    const { epoch } = this.#current;
    if (fence.epoch < epoch) throw new CatalogueError('StaleEpoch', `${this.vm} is tracked in epoch ${epoch}`);
    if (fence.epoch > epoch) {
      throw new CatalogueError('OutOfSequence', `${this.vm} is tracked in epoch ${epoch}, not ${fence.epoch}`);
    }
    if (this.resyncCause !== undefined) throw new CatalogueError('ResyncRequired', `${this.vm}: ${this.resyncCause}`);
    return this.#current;
  }

  async #seal(current: TrackedEpoch, next: readonly ChangeLog[], sealedAt: number, final: boolean): Promise<void> {
    try {
      // Do this first: after a release, the older logs are gone and no longer contain this number.
      await Promise.all(next.map((log) => log.persistFirstWrite()));
      await Promise.all(current.sealing.map((log) => log.seal(sealedAt, final)));
    } catch (error) {
      await this.mark(`a change log could not be sealed: ${(error as Error).message}`);
    }
    if (this.resyncCause !== undefined) {
      // The open logs carry the mark; these are useless now.
      await this.mark(this.resyncCause);
      await dropLogs(current.sealing);
      current.sealing = [];
      throw new CatalogueError('ResyncRequired', `${this.vm}: ${this.resyncCause}`);
    }
  }

  #createLogs(
    epoch: number,
    sequence: number,
    opened: { firstWrite: number; openedByFinalCut: boolean },
  ): Promise<ChangeLog[]> {
    return createLogs(this.#tracked, { vm: this.vm, bootId: this.options.bootId, epoch, sequence, ...opened });
  }

  /** Resolves when the space of marked logs has been freed. */
  async discarded(): Promise<void> {
    await this.#current?.discarded();
  }

  /** Takes the open logs synchronously. @returns them when no operation uses them any more. */
  async #takeOpenLogs(): Promise<ChangeLog[]> {
    const current = this.#current;
    const logs = [...this.disks.flatMap((disk) => disk.log ?? []), ...(current?.sealing ?? [])];
    await current?.discarded();
    return logs;
  }

  #stopTracking(cause: string): void {
    if (this.resyncCause !== undefined) return;
    this.mark(cause).catch((error: unknown) => this.options.warn(`the mark of ${this.vm} could not be stored`, error));
  }
}

const isSameCut = (made: Cut, { disks }: CutIdentity): boolean =>
  made.disks.length === disks.length &&
  made.disks.every(({ name, token }) => disks.some((disk) => disk.name === name && disk.token === token));
