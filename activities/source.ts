/** Activities of the agent, on the host beside the disks: everything that touches a source disk. */
import { isDeepStrictEqual } from 'node:util';
import type { AppConsistentFailure } from '../domain/app-consistency.js';
import { CatalogueError } from '../domain/errors.js';
import type { DiskWrite } from '../domain/last-cut.js';
import type { Retention } from '../domain/recovery-point.js';
import { vaultPaths, type CycleManifest } from '../domain/vault.js';
import { cutCycle, releaseCycle } from '../replication/cut-cycle.js';
import { withRoom } from '../replication/make-room.js';
import { copySlice, type CopyProgress } from '../replication/seed.js';
import { shipCycle } from '../replication/ship.js';
import type { ChangeSource, Cut } from '../ports/change-source.js';
import type { HypervisorVm } from '../ports/hypervisor-vm.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { countShipped } from './counters.js';
import { classified } from './failures.js';
import { beating, type Beating } from './heartbeat.js';
import { Turns } from './turns.js';
import { comparisonActivities } from './verification.js';
import { hostActivities } from './watch-host.js';

export interface SourceDeps {
  /** The hypervisor beside the disks. */
  readonly source: ChangeSource;
  readonly store: ReplicaStore;
  /** The store as one activity sends to it, where a bandwidth is to be kept. */
  readonly sendingStore?: (sender: { signal: AbortSignal; onGranted: () => void }) => ReplicaStore;
  readonly turns?: Turns;
  /** Longest one call of `copyDisk` works, ms: then it returns, and the workflow's history holds the progress. */
  readonly copySliceMs?: number;
  /** Between two looks at the host, ms. */
  readonly lookEveryMs?: number;
}

export interface DiskSize {
  readonly name: string;
  /** Virtual size, bytes. */
  readonly size: number;
}

/** What the workflow keeps of a cycle: names and numbers. */
export interface ShippedCycle {
  readonly sequence: number;
  readonly sealedAt: string;
  readonly final: boolean;
  /** Bytes of disk content sent. */
  readonly bytes: number;
  readonly lastWrites: readonly DiskWrite[];
  /** What the tracker has taken since, of a final cycle whose VM is off; see `CutOfSource`. */
  readonly issued?: readonly DiskWrite[];
  readonly appConsistent?: boolean;
  /** Why it is crash-consistent although it was asked to be app-consistent. */
  readonly appConsistentFailure?: AppConsistentFailure;
}

export interface CutAndShipInput {
  readonly vm: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Names that the recovery point of this cycle gets. */
  readonly tags?: readonly string[];
  /** Freeze the guest for the cut. Where that fails the cycle goes on without. */
  readonly appConsistent?: boolean;
  /** By it recovery points go where the store is full. */
  readonly retention?: Retention;
}

/** Longest a guest is kept frozen for a cut, ms: what Windows' shadow copies allow their writers. */
const FREEZE_DEADLINE_MS = 10_000;
const DEFAULT_COPY_SLICE_MS = 30_000;
const COPY_STEP_BYTES = 256 * 1024 * 1024;

export type SourceActivities = ReturnType<typeof createSourceActivities>;

export function createSourceActivities(deps: SourceDeps) {
  const { source, store } = deps;
  const turns = deps.turns ?? new Turns();
  const sendingStore = ({ signal, alive }: Beating) => deps.sendingStore?.({ signal, onGranted: alive }) ?? store;
  const issuedWrites = async (vm: string, epoch: number): Promise<DiskWrite[] | undefined> => {
    const { state, tracking } = await source.describeVm(vm);
    if (state !== 'Off' || tracking?.epoch !== epoch || tracking.resyncCause !== undefined) return undefined;
    return Object.entries(tracking.lastWrites).map(([name, lastWrite]) => ({ name, lastWrite }));
  };
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

    /**
     * Is everything on this host as replication needs it, and does the store answer it?
     * @returns the disks with their sizes, and the epoch of tracking that is on or was left behind; 0 when there is none.
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
     * VM snapshot and start of tracking in one instant. Repeated within the epoch: nothing.
     * @param input.disks what the replica was made ready for. @throws ResyncRequired when the VM has others by now.
     */
    async beginReplication({ vm, epoch, disks }: { vm: string; epoch: number; disks?: DiskSize[] }): Promise<void> {
      await source.beginReplication(vm, epoch);
      const found = replicatedDisks(await source.describeVm(vm));
      if (!disks || isDeepStrictEqual(found, disks)) return;
      throw new CatalogueError('ResyncRequired', `the disks of ${vm} changed while replication was being started`);
    },

    /** Stops tracking and removes snapshot and logs. */
    async endReplication({ vm }: { vm: string }): Promise<void> {
      await beating(0, () => source.endReplication(vm));
    },

    /**
     * Copies one disk of the VM snapshot to the replica, from an offset, for a while. Slices that the store has a
     * record of are not sent again, so a second attempt goes on where the first one died.
     * @param input.toOffset stops there, bytes: the end of a slice. @default the end of the disk
     * @param input.retention by it recovery points go where the store is full.
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

    /** Merges the VM snapshot into its parent for a while. @returns bytes that are left. */
    async mergeSnapshot({ vm }: { vm: string }): Promise<{ bytesLeft: number }> {
      return beating(0, async () => ({ bytesLeft: await source.mergeSnapshot(vm) }));
    },

    /**
     * One replication cycle on this side: seal the logs of all disks at one instant, send them, make the cycle exist
     * by its manifest, and only then delete the local logs. A cycle that exists already is returned as it is, however
     * much was written after it: whether it holds everything, `holdsEverything` tells.
     */
    async cutAndShip(input: CutAndShipInput): Promise<ShippedCycle> {
      const { vm, epoch, sequence } = input;
      const fence = { epoch, sequence };
      return beating(0, async (beat) => {
        const freeze = input.appConsistent ? { appConsistent: { deadlineMs: FREEZE_DEADLINE_MS } } : undefined;
        // The cut takes no turn: it says how old the cycle is.
        const send = (cut: Cut) => turns.take('cycles', beat, () => ship(cut, beat, input));
        const { manifest, isNew } = await cutCycle(source, store, { vm, ...fence }, send, freeze);
        if (isNew) countShipped('cycle', contentOf(manifest));
        await releaseCycle(source, manifest);
        const issued = manifest.final ? await issuedWrites(vm, epoch) : undefined;
        return { ...shippedCycleOf(manifest), ...(issued && { issued }) };
      });
    },
  });
}

const replicatedDisks = ({ disks }: HypervisorVm): DiskSize[] =>
  disks.flatMap(({ name, size, excluded }) => (excluded ? [] : [{ name, size }]));

/** Bytes. */
const contentOf = ({ disks }: CycleManifest): number => disks.reduce((sum, { dataBytes }) => sum + dataBytes, 0);

const shippedCycleOf = (manifest: CycleManifest): ShippedCycle => ({
  sequence: manifest.sequence,
  sealedAt: manifest.sealedAt,
  final: manifest.final,
  bytes: contentOf(manifest),
  lastWrites: manifest.disks.map(({ name, lastWrite }) => ({ name, lastWrite })),
  ...(manifest.appConsistent !== undefined && { appConsistent: manifest.appConsistent }),
  ...(manifest.appConsistentFailure && { appConsistentFailure: manifest.appConsistentFailure }),
});
