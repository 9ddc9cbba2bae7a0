/**
 * The VM snapshot of an initial copy: overlays above all disks of a VM at one instant, and what is remembered of them.
 * It is one only once tracking has begun too; overlays that an attempt left behind are just merged.
 */
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { TrackingState } from '../../ports/hypervisor-vm.js';
import type { VmDisks } from './vm-disks.js';
import type { VmStateFile } from './vm-state-file.js';

/** How long one request to merge may work, ms, and how long one that has to be done with a merge first. */
const MERGE_SLICE_MS = 2_000;
const MERGE_FIRST_MS = 20_000;

/** Does something while nothing of the VM is in flight. */
export type Quietly = (action: () => Promise<void>) => Promise<void>;

export class VmSnapshot {
  #givenUp: { readonly epoch: number; readonly cause: string } | undefined;

  constructor(
    private readonly vm: string,
    private readonly disks: VmDisks,
    private readonly state: VmStateFile,
  ) {}

  /** Undefined while there is none that can be relied on. */
  get name(): string | undefined {
    if (this.state.failure) return undefined;
    const { snapshot } = this.state.current;
    return snapshot && snapshot.phase !== 'creating' ? nameOf(snapshot.epoch) : undefined;
  }

  /**
   * @throws CatalogueError unless the base files are still what the disks were at this snapshot: SnapshotGivenUp when it
   * was, so that whoever wants it begins anew, else InvalidVmState.
   */
  check(epoch: number): void {
    const { snapshot } = this.state.current;
    this.requireKept(epoch);
    if (snapshot?.epoch === epoch && snapshot.phase === 'taken') return;
    const found = snapshot ? `its snapshot is ${nameOf(snapshot.epoch)}, ${snapshot.phase}` : 'it has no snapshot';
    throw new CatalogueError('InvalidVmState', `${this.vm}: no snapshot of epoch ${epoch}; ${found}`);
  }

  /** @throws CatalogueError SnapshotGivenUp when the snapshot of this epoch was. */
  requireKept(epoch: number): void {
    const givenUp = this.#givenUp ?? this.state.current.givenUp;
    if (givenUp?.epoch === epoch) throw new CatalogueError('SnapshotGivenUp', `${this.vm}: ${givenUp.cause}`);
  }

  /**
   * For want of space: from when it resolves on nothing is copied up for it any more, and what it has can be merged. May
   * be called at any time, by a guest's write. @returns false when there is none, or it is being merged already.
   */
  async giveUp(cause: string): Promise<boolean> {
    if (this.disks.copyingUp === 0) return false;
    // First: nobody may take the bases for the snapshot once they change.
    const { snapshot } = this.state.current;
    if (snapshot) this.#givenUp = { epoch: snapshot.epoch, cause };
    await this.disks.beginMerge();
    // What can't be stored is found again by `settle`.
    await this.#storeGivenUp(cause).catch(() => undefined);
    return true;
  }

  async #storeGivenUp(cause: string): Promise<void> {
    await this.state.change(({ snapshot, ...state }) => {
      if (!snapshot) return state;
      const { epoch } = snapshot;
      return { ...state, snapshot: { ...snapshot, phase: 'merging' }, givenUp: { epoch, cause } };
    });
  }

  /** Is this the snapshot that was taken together with that cut? */
  isOfCut({ epoch, sequence }: Fence): boolean {
    const { snapshot } = this.state.current;
    return snapshot?.phase === 'taken' && snapshot.epoch === epoch && snapshot.sequence === sequence;
  }

  /**
   * @param at the epoch; with a sequence, that of the cut that joins in.
   * @param join starts tracking or cuts, while nothing is in flight. @returns its answer.
   * @throws CatalogueError DiskMissing, BrokenChain when a disk is not in its place, where the copy would look for it.
   */
  async take<T>(at: { epoch: number; sequence?: number }, quietly: Quietly, join: () => Promise<T>): Promise<T> {
    const { epoch, sequence } = at;
    await this.disks.requireInPlace();
    const snapshot = { epoch, ...(sequence !== undefined && { sequence }) };
    this.#givenUp = undefined;
    await this.state.change(({ givenUp: _, ...state }) => ({
      ...state,
      replicatedEpoch: epoch,
      snapshot: { ...snapshot, phase: 'creating' },
    }));
    let joined: { answer: T } | undefined;
    await quietly(async () => {
      try {
        await this.disks.takeSnapshot();
        joined = { answer: await join() };
      } catch (error) {
        // It would cost the guest space for nothing. What can't be removed is merged by whoever comes next.
        await this.disks.dropUnusedSnapshot().catch(() => undefined);
        throw error;
      }
    });
    // Guests write again: it may have been given up already.
    await this.state.change((state) =>
      state.snapshot?.phase === 'creating' ? { ...state, snapshot: { ...snapshot, phase: 'taken' } } : state,
    );
    return joined!.answer;
  }

  /** After a restart: what a request that died with the process had got to. */
  async settle(tracking: TrackingState | undefined): Promise<void> {
    const { snapshot } = this.state.current;
    if (!snapshot) return;
    const overlays = this.disks.snapshots;
    // What joined in is the last to happen: a sequence that is still open has not been cut.
    const hasJoined = tracking?.epoch === snapshot.epoch && tracking.openSequence > (snapshot.sequence ?? 0);
    const isTaken = overlays === this.disks.replicated && hasJoined;
    if (snapshot.phase === 'taken' && this.disks.areMerging) {
      await this.#storeGivenUp('there was no space left for it');
    } else if (snapshot.phase === 'creating' && isTaken) {
      await this.state.change((state) => ({ ...state, snapshot: { ...snapshot, phase: 'taken' } }));
    } else if (overlays === 0) {
      await this.state.change(({ snapshot: _, ...state }) => state);
    }
  }

  /** Merges for a while. @returns bytes left; at 0 the snapshot is gone. */
  merge(quietly: Quietly): Promise<number> {
    return this.#merge(quietly, MERGE_SLICE_MS);
  }

  /** @throws CatalogueError MergeUnfinished when it takes longer than a request may. */
  async mergeAll(quietly: Quietly): Promise<void> {
    const left = await this.#merge(quietly, MERGE_FIRST_MS);
    if (left > 0) throw new CatalogueError('MergeUnfinished', `${this.vm}: ${left} bytes are still to be merged`);
  }

  async #merge(quietly: Quietly, milliseconds: number): Promise<number> {
    const { snapshot } = this.state.current;
    if (snapshot && snapshot.phase !== 'merging') {
      await this.state.change((state) => ({ ...state, snapshot: { ...snapshot, phase: 'merging' } }));
    }
    const left = await this.disks.mergeSnapshot(milliseconds);
    if (left > 0) return left;
    if (this.disks.snapshots > 0) await quietly(() => this.disks.dropSnapshot());
    if (snapshot) await this.state.change(({ snapshot: _, ...state }) => state);
    return 0;
  }
}

const nameOf = (epoch: number): string => `replication-${epoch}`;
