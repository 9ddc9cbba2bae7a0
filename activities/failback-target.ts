/** Activities of the agent for a failback: they bring a VM back to its host, in layers above its original disks. */
import { CatalogueError } from '../domain/errors.js';
import { vaultPaths } from '../domain/vault.js';
import { readVaultState } from '../replication/replica-state.js';
import { receiveChanges } from '../replication/receive-changes.js';
import { digestOriginal, SNAPSHOT_SEQUENCE } from '../replication/snapshot-changes.js';
import type { ChangeSource } from '../ports/change-source.js';
import type { FailbackState, FailbackTarget } from '../ports/failback-target.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { beating } from './heartbeat.js';
import { replicatedDisks, type DiskSize } from './shipped-cycle.js';
import type { Turns } from './turns.js';

export interface FailbackTargetDeps {
  readonly source: ChangeSource & FailbackTarget;
  readonly store: ReplicaStore;
  readonly turns: Turns;
  /** Longest time that one call digests, ms. */
  readonly sliceMs: number;
}

export interface OfEpoch {
  readonly vm: string;
  readonly epoch: number;
}

export const failbackTargetActivities = ({ source, store, turns, sliceMs }: FailbackTargetDeps) => ({
  /** Can the VM be brought back to this host? @returns its replicated disks. */
  async checkFailbackTarget({ vm }: { vm: string }): Promise<{ disks: DiskSize[] }> {
    const described = await source.describeVm(vm);
    const { failure, state } = described;
    if (failure) throw new CatalogueError(failure.code, failure.detail);
    if (state !== 'Off') {
      const remedy = 'it has to be off while the VM runs at the recovery site: turn it off, and fail back again';
      throw new CatalogueError('InvalidVmState', `${vm} is running at the primary site; ${remedy}`);
    }
    await store.objects.readFence(vaultPaths.vm(vm));
    return { disks: replicatedDisks(described) };
  },

  /** Creates the layers above the original disks. @returns what proves that these have not changed; see there. */
  async createFailbackLayers({ vm, epoch }: OfEpoch): Promise<Pick<FailbackState, 'original'>> {
    const { original } = await beating(0, () => source.beginFailback(vm, epoch));
    return original ? { original } : {};
  },

  /** Digests an original disk from an offset, for a limited time, so that only differences have to be sent. */
  async digestOriginal(task: OfEpoch & { disk: string; fromOffset: number }) {
    return turns.beating('copies', task.fromOffset, async (beat) => {
      const layers = await source.openFailback(task.vm, { epoch: task.epoch, sequence: SNAPSHOT_SEQUENCE });
      // The layers hold the differences already: an earlier attempt has digested everything.
      if (!layers) return { nextOffset: task.fromOffset, done: true };
      try {
        const until = Date.now() + sliceMs;
        const enough = () => beat.signal.aborted || Date.now() >= until;
        return await digestOriginal(store, layers.disk(task.disk), task, { ...beat, enough });
      } finally {
        await layers.close();
      }
    });
  },

  /** Receives a change set in the layers. */
  async receiveChanges(task: OfEpoch & { sequence: number }): Promise<void> {
    await turns.beating('cycles', 0, (beat) => receiveChanges(store, source, task, beat));
  },

  /** Does the VM run in its layers, and has a commit something to make permanent? */
  async checkCommitFailback({ vm }: { vm: string }): Promise<void> {
    const { failure, state } = await source.describeVm(vm);
    if (failure) throw new CatalogueError(failure.code, failure.detail);
    if (state === 'Running') return;
    throw new CatalogueError('InvalidVmState', `${vm} is ${state} at the primary site, expected Running`);
  },

  /** Makes the layers a part of the disks. They are then merged by `mergeSnapshot`. */
  async commitFailback({ vm, epoch }: OfEpoch): Promise<void> {
    await beating(0, () => source.commitFailback(vm, epoch));
  },

  /** Deletes the layers of a failback that was given up. Has no effect once the VM was handed over. */
  async discardFailback({ vm }: { vm: string }): Promise<void> {
    await beating(0, async () => {
      const state = await readVaultState(store, vm);
      if (state) await source.discardFailback(vm, state.epoch);
    });
  },
});
