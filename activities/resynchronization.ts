/** Activities of the Azure worker for a resynchronization: its work at the replica, and the time when it may begin. */
import { windowOpening, type ResyncWindow } from '../domain/resync-window.js';
import { toIso, toMs } from '../domain/time.js';
import { processReceived, type Processed } from '../replication/failover-point.js';
import { withRoom } from '../replication/make-room.js';
import { beginResync, type ResyncTask } from '../replication/resync.js';
import { releaseSeed } from '../replication/seed-record.js';
import { digestReplica, type Digested, type DigestTask } from '../replication/target-digests.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { classified } from './failures.js';
import { beating } from './heartbeat.js';
import { Turns } from './turns.js';

export type ResynchronizationActivities = ReturnType<typeof createResynchronizationActivities>;

export function createResynchronizationActivities({
  store,
  turns = new Turns(),
}: {
  store: ReplicaStore;
  turns?: Turns;
}) {
  return classified({
    /**
     * Applies the cycles that the store has received completely. An error ends this step, not the resynchronization.
     */
    async applyReceivedCycles({ vm }: { vm: string }): Promise<Processed> {
      return turns.beating('cycles', 0, (beat) => processReceived(store, vm, beat));
    },

    /** Begins a new epoch on the existing replica, whose recovery points are kept. */
    async beginResync(task: ResyncTask): Promise<void> {
      await beating(0, () => beginResync(store, task));
    },

    /**
     * Computes digests of a replica disk near the store, so that only differences have to be sent. Starts at an offset
     * and works for a limited time.
     * @param input.forMs begins no further slice after this time. @default until the end of the disk
     */
    async digestReplica({
      forMs = Infinity,
      ...task
    }: DigestTask & { fromOffset?: number; forMs?: number }): Promise<Digested> {
      return turns.beating('copies', task.fromOffset ?? 0, (beat) => {
        const until = Date.now() + forMs;
        const digest = async () => await digestReplica(store, task, { ...beat, enough: () => Date.now() >= until });
        return withRoom(store, { ...task, retention: 'kept' }, digest);
      });
    },

    /** Deletes the records from which an interrupted resynchronization would have continued. */
    async endResync({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      await beating(0, () => releaseSeed(store, { vm, epoch }));
    },

    /**
     * When a resynchronization may begin. Runs as a local activity.
     * @param input.now ISO 8601. @param input.skipOpen ignores the window that is open now.
     */
    async resyncOpening(input: { window: ResyncWindow; now: string; skipOpen: boolean }): Promise<{ opensAt: string }> {
      return { opensAt: toIso(windowOpening(input.window, toMs(input.now), input.skipOpen)) };
    },
  });
}
