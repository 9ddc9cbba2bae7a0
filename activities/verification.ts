/** Activities of a verification: digests of the replica are computed near the store, and compared near the source. */
import { withRoom } from '../replication/make-room.js';
import { markSuspect } from '../replication/recovery-points.js';
import { compareWithSource, digestForVerification, endVerification, type VerifyTask } from '../replication/verify.js';
import type { ChangeSource } from '../ports/change-source.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { beating } from './heartbeat.js';
import type { Turns } from './turns.js';

/** Activities of the agent. @param sliceMs longest time that one call compares, ms. */
export const comparisonActivities = (source: ChangeSource, store: ReplicaStore, turns: Turns, sliceMs: number) => ({
  /** Takes a VM snapshot and cuts at the same instant: the snapshot equals the replica once the cycle is applied. */
  async snapshotAndCut({ vm, epoch, sequence }: { vm: string; epoch: number; sequence: number }) {
    return beating(0, async () => {
      const { sealedAt } = await source.snapshotAndCut(vm, { epoch, sequence });
      return { sealedAt };
    });
  },

  /** Compares one disk of the VM snapshot with the digests of its replica, from an offset, for a limited time. */
  async compareDisk(task: VerifyTask & { fromOffset: number }) {
    return turns.beating('copies', task.fromOffset, async (beat) => {
      const disk = await source.openSnapshotDisk(task.vm, task.epoch, task.disk);
      try {
        const until = Date.now() + sliceMs;
        const compared = await compareWithSource(store, disk, task, () => Date.now() >= until, beat);
        // The snapshot may have been given up meanwhile for lack of space: the data read would then not be of one
        // instant.
        await (await source.openSnapshotDisk(task.vm, task.epoch, task.disk)).close();
        return compared;
      } finally {
        await disk.close();
      }
    });
  },
});

/** Activities of the Azure worker. */
export const digestActivities = (store: ReplicaStore, turns: Turns) => ({
  /** Computes digests of a replica disk at exactly this cycle. */
  async digestForVerification(task: VerifyTask): Promise<void> {
    await turns.beating('copies', 0, (beat) =>
      withRoom(store, { ...task, retention: 'kept' }, async () => await digestForVerification(store, task, beat)),
    );
  },

  /**
   * Deletes the digests. @param input.damage description of any damage that was found: the recovery points are marked
   * with it.
   */
  async endVerification({ vm, epoch, damage }: { vm: string; epoch: number; damage?: string }): Promise<void> {
    await beating(0, async () => {
      if (damage !== undefined) await markSuspect(store, { vm, epoch, reason: damage });
      await endVerification(store, { vm, epoch });
    });
  },
});
