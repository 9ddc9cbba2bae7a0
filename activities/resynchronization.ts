/** Activities of the Azure worker for a resynchronization: the replica's side of it, and when it may begin. */
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
    /** Applies what the store has received completely. What is wrong with it ends the applying, not the resynchronization. */
    async applyReceivedCycles({ vm }: { vm: string }): Promise<Processed> {
      return turns.beating('cycles', 0, (beat) => processReceived(store, vm, beat));
    },

    /** A new epoch on the replica as it is; its recovery points stay. */
    async beginResync(task: ResyncTask): Promise<void> {
      await beating(0, () => beginResync(store, task));
    },

    /**
     * Digests a replica disk beside the store, so that only what differs has to cross; from an offset, for a while.
     * @param input.forMs after that long no further slice is begun. @default until the end of the disk
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

    /** Deletes the records that the resynchronization went on from. */
    async endResync({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      await beating(0, () => releaseSeed(store, { vm, epoch }));
    },

    /**
     * When a resynchronization may begin. To be run as a local activity.
     * @param input.now ISO 8601. @param input.skipOpen the window that is open now does not count.
     */
    async resyncOpening(input: { window: ResyncWindow; now: string; skipOpen: boolean }): Promise<{ opensAt: string }> {
      return { opensAt: toIso(windowOpening(input.window, toMs(input.now), input.skipOpen)) };
    },
  });
}
