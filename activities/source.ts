/** Activities of the agent, on the host beside the disks: all work on source disks. */
import { isDeepStrictEqual } from 'node:util';
import { CatalogueError } from '../domain/errors.js';
import type { Retention } from '../domain/recovery-point.js';
import { vaultPaths, type CycleManifest } from '../domain/vault.js';
import { cutCycle, releaseCycle } from '../replication/cut-cycle.js';
import { withRoom } from '../replication/make-room.js';
import { copySlice, type CopyProgress } from '../replication/seed.js';
import { shipCycle } from '../replication/ship.js';
import type { ChangeSource, Cut, WrittenState } from '../ports/change-source.js';
import type { FailbackTarget } from '../ports/failback-target.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { countShipped } from './counters.js';
import { failbackTargetActivities } from './failback-target.js';
import { classified } from './failures.js';
import { beating, type Beating } from './heartbeat.js';
import {
  contentOf,
  issuedWrites,
  replicatedDisks,
  shippedCycleOf,
  type DiskSize,
  type ShippedCycle,
} from './shipped-cycle.js';
import { Turns } from './turns.js';
import { comparisonActivities } from './verification.js';
import { hostActivities } from './watch-host.js';

export interface SourceDeps {
  /** The hypervisor of this host. */
  readonly source: ChangeSource & FailbackTarget;
  readonly store: ReplicaStore;
  /** The store through which one activity sends, if bandwidth is limited. */
  readonly sendingStore?: (sender: { signal: AbortSignal; onGranted: () => void }) => ReplicaStore;
  readonly turns?: Turns;
  /**
   * Longest time that one call of `copyDisk` works, ms. Then it returns, so that the workflow's history holds the
   * progress.
   */
  readonly copySliceMs?: number;
  /** Time between two looks at the host, ms. */
  readonly lookEveryMs?: number;
}

export interface CutAndShipInput {
  readonly vm: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Names for the recovery point of this cycle. */
  readonly tags?: readonly string[];
  /** Freeze the guest for the cut. If that fails, the cycle continues without. */
  readonly appConsistent?: boolean;
  /** Decides which recovery points may be deleted if the store is full. */
  readonly retention?: Retention;
}

/**
 * Longest time that a guest is kept frozen for a cut, ms: the limit that Windows' shadow copies set for their writers.
 */
const FREEZE_DEADLINE_MS = 10_000;
const DEFAULT_COPY_SLICE_MS = 30_000;
const COPY_STEP_BYTES = 256 * 1024 * 1024;

export type SourceActivities = ReturnType<typeof createSourceActivities>;

export function createSourceActivities(deps: SourceDeps) {
  const { source, store } = deps;
  const turns = deps.turns ?? new Turns();
  const sendingStore = ({ signal, alive }: Beating) => deps.sendingStore?.({ signal, onGranted: alive }) ?? store;
  const ship = async (cut: Cut, beat: Beating, { tags, retention }: CutAndShipInput): Promise<CycleManifest> => {
    const changes = await source.openChangeSet(cut);
    const sending = sendingStore(beat);
    try {
      const send = async () => await shipCycle(sending, changes, cut, cut, { ...beat, tags });
      return await withRoom(sending, { vm: cut.vm, epoch: cut.epoch, retention }, send);
    } finally {
      await changes.close();
    }
  };
  return classified({
    ...hostActivities(source, deps.lookEveryMs),
    ...comparisonActivities(source, store, turns, deps.copySliceMs ?? DEFAULT_COPY_SLICE_MS),
    ...failbackTargetActivities({ source, store, turns, sliceMs: deps.copySliceMs ?? DEFAULT_COPY_SLICE_MS }),

    /**
     * Is everything on this host ready for replication, and does the store answer?
     * @returns the disks with their sizes, and the epoch of tracking that is active or was left behind; 0 if there is
     * none.
     */
    async checkSource({ vm }: { vm: string }): Promise<{ disks: DiskSize[]; trackedEpoch: number }> {
      const found = await source.describeVm(vm);
      if (found.failure) throw new CatalogueError(found.failure.code, found.failure.detail);
      await store.objects.readFence(vaultPaths.vm(vm));
      return {
        disks: replicatedDisks(found),
        trackedEpoch: found.tracking?.epoch ?? 0,
      };
    },

    /**
     * Takes a VM snapshot and starts tracking at the same instant. Does nothing when repeated within the epoch.
     * @param input.disks the disks for which the replica was prepared. @throws ResyncRequired if the VM has other disks
     * by now.
     */
    async beginReplication({ vm, epoch, disks }: { vm: string; epoch: number; disks?: DiskSize[] }): Promise<void> {
      await source.beginReplication(vm, epoch);
      const found = replicatedDisks(await source.describeVm(vm));
      if (!disks || isDeepStrictEqual(found, disks)) return;
      throw new CatalogueError('ResyncRequired', `the disks of ${vm} changed while replication was being started`);
    },

    /**
     * Starts tracking in a new epoch without a copy: only if the disks still hold the state that the replica holds.
     * @returns the disks, or why they may hold something else.
     */
    async continueReplication(input: {
      vm: string;
      epoch: number;
      unchangedSince: WrittenState;
    }): Promise<{ disks: DiskSize[] } | { problem: string }> {
      const { vm, epoch, unchangedSince } = input;
      try {
        await source.continueReplication(vm, epoch, unchangedSince);
      } catch (error) {
        if (error instanceof CatalogueError && error.code === 'ResyncRequired') return { problem: error.detail };
        throw error;
      }
      return { disks: replicatedDisks(await source.describeVm(vm)) };
    },

    /** Stops tracking and removes snapshot and logs. */
    async endReplication({ vm }: { vm: string }): Promise<void> {
      await beating(0, () => source.endReplication(vm));
    },

    /**
     * Copies one disk of the VM snapshot to the replica, from an offset, for a limited time. Slices with a record in
     * the store are not sent again, so a second attempt continues where the first one died.
     * @param input.toOffset stops here, bytes: the end of a slice. @default the end of the disk
     * @param input.retention decides which recovery points may be deleted if the store is full.
     */
    async copyDisk(input: {
      vm: string;
      epoch: number;
      disk: string;
      fromOffset: number;
      toOffset?: number;
      retention?: Retention;
    }) {
      const { vm, epoch, disk, toOffset = Infinity, retention } = input;
      return turns.beating('copies', input.fromOffset, async (beat) => {
        const { signal } = beat;
        const sending = sendingStore(beat);
        const frozen = await source.openSnapshotDisk(vm, epoch, disk);
        try {
          const until = Date.now() + (deps.copySliceMs ?? DEFAULT_COPY_SLICE_MS);
          let offset = input.fromOffset;
          let sentBytes = 0;
          while (offset < Math.min(frozen.size, toOffset)) {
            const fence = { epoch, sequence: 0 };
            const task = { vm, disk, fromOffset: offset, toOffset, maxBytes: COPY_STEP_BYTES, fence };
            const onProgress = ({ nextOffset }: CopyProgress) => beat.onProgress({ bytesDone: nextOffset });
            const copy = async () => await copySlice(sending, frozen, task, { signal, onProgress });
            const slice = await withRoom(sending, { vm, epoch, retention }, copy);
            offset = slice.nextOffset;
            sentBytes += slice.dataBytes;
            countShipped('copy', slice.dataBytes);
            if (Date.now() >= until) break;
          }
          return { nextOffset: offset, sentBytes, done: offset >= frozen.size };
        } finally {
          await frozen.close();
        }
      });
    },

    /** Merges the VM snapshot into its parent for a limited time. @returns the number of bytes left. */
    async mergeSnapshot({ vm }: { vm: string }): Promise<{ bytesLeft: number }> {
      return beating(0, async () => ({ bytesLeft: await source.mergeSnapshot(vm) }));
    },

    /**
     * The source's half of a replication cycle: seals the logs of all disks at one instant, sends them, completes the
     * cycle with its manifest, and only then deletes the local logs. An existing cycle is returned unchanged, however
     * much was written after it; `holdsEverything` tells whether it is complete.
     */
    async cutAndShip(input: CutAndShipInput): Promise<ShippedCycle> {
      const { vm, epoch, sequence } = input;
      const fence = { epoch, sequence };
      return beating(0, async (beat) => {
        const freeze = input.appConsistent ? { appConsistent: { deadlineMs: FREEZE_DEADLINE_MS } } : undefined;
        // The cut does not wait for a turn, because its time is the age of the cycle.
        const send = (cut: Cut) => turns.take('cycles', beat, () => ship(cut, beat, input));
        const { manifest, isNew } = await cutCycle(source, store, { vm, ...fence }, send, freeze);
        if (isNew) countShipped('cycle', contentOf(manifest));
        await releaseCycle(source, manifest);
        const issued = manifest.final ? await issuedWrites(source, { vm, epoch }) : undefined;
        return { ...shippedCycleOf(manifest), ...(issued && { issued }) };
      });
    },
  });
}
