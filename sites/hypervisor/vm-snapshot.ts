/**
 * The VM snapshot: overlays above all disks of a VM, created at one instant, and the stored state that describes them.
 * The snapshot is valid only once tracking has begun, or the cut has been made, too. Overlays that an attempt left
 * behind are merged.
 */
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { TrackingState } from '../../ports/hypervisor-vm.js';
import type { VmDisks } from './vm-disks.js';
import type { VmStateFile } from './vm-state-file.js';

/** How long a request to merge may work, ms; and a request that has to merge before it can do its own work. */
const MERGE_SLICE_MS = 2_000;
const MERGE_FIRST_MS = 20_000;

/** Runs an action while no request to the VM's disks is in flight. */
export type Quietly = (action: () => Promise<void>) => Promise<void>;

export class VmSnapshot {
  #givenUp: { readonly epoch: number; readonly cause: string } | undefined;

  constructor(
    private readonly vm: string,
    private readonly disks: VmDisks,
    private readonly state: VmStateFile,
  ) {}

  /** Undefined while there is no complete snapshot. */
  get name(): string | undefined {
    if (this.state.failure) return undefined;
    const { snapshot } = this.state.current;
    return snapshot && snapshot.phase !== 'creating' ? nameOf(snapshot.epoch) : undefined;
  }

  /**
   * Checks that the base files still hold the state of this snapshot.
   * @throws CatalogueError SnapshotGivenUp if it was given up, so that the caller starts again with a new one;
   * otherwise InvalidVmState.
   */
  check(epoch: number): void {
    const { snapshot } = this.state.current;
    this.requireKept(epoch);
    if (snapshot?.epoch === epoch && snapshot.phase === 'taken') return;
    const found = snapshot ? `its snapshot is ${nameOf(snapshot.epoch)}, ${snapshot.phase}` : 'it has no snapshot';
    throw new CatalogueError('InvalidVmState', `${this.vm}: no snapshot of epoch ${epoch}; ${found}`);
  }

  /** @throws CatalogueError SnapshotGivenUp if the snapshot of this epoch was given up. */
  requireKept(epoch: number): void {
    const givenUp = this.#givenUp ?? this.state.current.givenUp;
    if (givenUp?.epoch === epoch) throw new CatalogueError('SnapshotGivenUp', `${this.vm}: ${givenUp.cause}`);
  }

  /**
   * Gives up the snapshot because space is short. Once this resolves, no more data is copied up for it, and its
   * overlays can be merged. It may be called at any time, even during a guest's write.
   * @returns false if there is no snapshot, or it is already being merged.
   */
  async giveUp(cause: string): Promise<boolean> {
    // The overlays of a failback are not a snapshot: merging them would commit it.
    if (this.disks.copyingUp === 0 || this.state.current.failback) return false;
    // This comes first: nobody may read the bases as the snapshot once they change.
    const { snapshot } = this.state.current;
    if (snapshot) this.#givenUp = { epoch: snapshot.epoch, cause };
    await this.disks.beginMerge();
    // If this can't be stored, `settle` finds out after a restart.
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

  /** Whether this snapshot was taken together with that cut. */
  isOfCut({ epoch, sequence }: Fence): boolean {
    const { snapshot } = this.state.current;
    return snapshot?.phase === 'taken' && snapshot.epoch === epoch && snapshot.sequence === sequence;
  }

  /**
   * @param at the epoch of the snapshot, and the sequence if `join` makes a cut.
   * @param join starts tracking or cuts, while no request is in flight.
   * @returns what `join` returned.
   * @throws CatalogueError DiskMissing, BrokenChain if a disk's file is not in its place, where the copy would look for
   * it.
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
        // An unused overlay would only cost the guest space. If it can't be removed now, the next operation merges it.
        await this.disks.dropUnusedSnapshot().catch(() => undefined);
        throw error;
      }
    });
    // Guests write again by now, so the snapshot may already have been given up.
    await this.state.change((state) =>
      state.snapshot?.phase === 'creating' ? { ...state, snapshot: { ...snapshot, phase: 'taken' } } : state,
    );
    return joined!.answer;
  }

  /** After a restart: finds out how far a request got that died with the process. */
  async settle(tracking: TrackingState | undefined): Promise<void> {
    const { snapshot } = this.state.current;
    if (!snapshot) return;
    const overlays = this.disks.snapshots;
    // `join` is the last step: if the sequence is still open, the cut was not made.
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

  /** Merges for a limited time. @returns how many bytes are left; at 0 the snapshot is gone. */
  merge(quietly: Quietly): Promise<number> {
    return this.#merge(quietly, MERGE_SLICE_MS);
  }

  /** @throws CatalogueError MergeUnfinished if the merge takes longer than a request may. */
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
    await this.#forget();
    return 0;
  }

  /** Everything is merged: the snapshot is gone, and so are the layers of a committed failback. */
  async #forget(): Promise<void> {
    const { snapshot, failback } = this.state.current;
    const isCommitted = failback?.phase === 'committed';
    if (!snapshot && !isCommitted) return;
    await this.state.change(({ snapshot: _, failback: layers, ...state }) => ({
      ...state,
      ...(layers && !isCommitted && { failback: layers }),
    }));
  }
}

const nameOf = (epoch: number): string => `replication-${epoch}`;
