/** Activities of an unplanned failover. They need only the recovery site. */
import { CatalogueError } from '../domain/errors.js';
import { compareFences } from '../domain/fence.js';
import type { DiskWrite } from '../domain/last-cut.js';
import { toIso } from '../domain/time.js';
import { vaultPaths, type RecoveryPoint } from '../domain/vault.js';
import { replicaVmAt } from '../replication/described-point.js';
import {
  choosePoint,
  LATEST,
  LATEST_PROCESSED,
  lagOf,
  pointProblem,
  processReceived,
  type Processed,
} from '../replication/failover-point.js';
import { noCopy } from '../replication/kept-record.js';
import { listRecoveryPoints } from '../replication/recovery-points.js';
import {
  readApplied,
  readDescription,
  readNotedState,
  vmFence,
  writeVaultState,
} from '../replication/replica-state.js';
import type { RecoveryCompute, ReplicaVmSpec } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { beating } from './heartbeat.js';

export interface SettledPoint {
  readonly recoveryPoint: { readonly id: string; readonly time: string };
  readonly cyclesProcessed: number;
  /** The last writes in this point; undefined if it differs from the current replica. */
  readonly lastWrites?: readonly DiskWrite[];
  /** Why a received cycle could not be applied or a newer point not be used, and how much older this point is. */
  readonly stoppedBy?: string;
}

const ATTEMPTS = 3;

export function unplannedFailoverActivities({ store, compute }: { store: ReplicaStore; compute: RecoveryCompute }) {
  const process = async (vm: string, signal: AbortSignal | undefined): Promise<Processed> => {
    try {
      return await processReceived(store, vm, { signal });
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'StoreFull') throw error;
      const detail = `${error.detail}; \`${LATEST_PROCESSED}\` and recovery points need no space`;
      throw new CatalogueError('StoreFull', detail, { cause: error });
    }
  };
  const runningReplica = async (vm: string): Promise<{ from: string | undefined } | undefined> => {
    const running = (await compute.listVms()).some(({ name, state }) => name === vm && state === 'Running');
    return running ? { from: (await readNotedState(store, vm).catch(noCopy))?.recoveryPoint } : undefined;
  };
  return {
    /**
     * Is there a state to fail over to? A running replica VM was left by another failover that was taken over from
     * during its boot; this failover takes the VM over, too.
     * @param input.wanted latest, latest-processed, or a recovery point's id.
     * @returns the failover's epoch, which is higher than any the store has seen, and the point that a running replica
     * VM runs from. Or the reason why there can be no failover.
     */
    async checkUnplannedFailover({ vm, wanted }: { vm: string; wanted: string }): Promise<{
      failoverEpoch: number;
      runsFrom?: string;
      refusal?: string;
    }> {
      const fence = await store.objects.readFence(vaultPaths.vm(vm));
      const running = await runningReplica(vm);
      const refusal = !(await readDescription(store, vm))
        ? `the vault holds no description of ${vm}`
        : running
          ? notTakenOver(vm, wanted, running.from)
          : await pointProblem(store, vm, wanted);
      return {
        // Skips one epoch: an abandoned resynchronization may be taking it right now, and must not share ours.
        failoverEpoch: fence.epoch + 2,
        ...(running?.from !== undefined && { runsFrom: running.from }),
        ...(refusal !== undefined && { refusal }),
      };
    },

    /** For `latest`, all received cycles are applied first. Continues where it stopped when repeated. */
    async settleRecoveryPoint({ vm, wanted }: { vm: string; wanted: string }): Promise<SettledPoint> {
      return beating(0, async ({ signal }) => {
        for (let attempt = 1; ; attempt += 1) {
          const processed = wanted === LATEST ? await process(vm, signal) : { cycles: 0 };
          try {
            const { point, passedOver } = await choosePoint(store, vm, wanted);
            // A damaged record proves nothing.
            const applied = await readApplied(store, vm).catch(noCopy);
            const problems = new Set([
              ...(processed.stoppedBy === undefined ? [] : [processed.stoppedBy]),
              ...passedOver,
            ]);
            const lag = problems.size > 0 ? await lagOf(store, vm, point) : undefined;
            return {
              recoveryPoint: { id: point.id, time: point.time },
              ...(applied && compareFences(applied, point) === 0 && { lastWrites: applied.disks }),
              cyclesProcessed: processed.cycles,
              ...(problems.size > 0 && { stoppedBy: [...problems, ...(lag === undefined ? [] : [lag])].join('; ') }),
            };
          } catch (error) {
            // An abandoned cycle may still be running and have raised the sequence; the next attempt includes it.
            if (attempt === ATTEMPTS || !(error instanceof CatalogueError) || error.code !== 'StaleEpoch') throw error;
          }
        }
      });
    },

    /** Takes the right to write away from the source, and creates the replica VM from the point, powered off. */
    async startUnplannedFailover(input: {
      vm: string;
      failoverEpoch: number;
      recoveryPoint: string;
    }): Promise<{ failedOverAt: string }> {
      const { vm, failoverEpoch, recoveryPoint } = input;
      return beating(0, async () => {
        await store.objects.raiseFence(vmFence(vm, { epoch: failoverEpoch, sequence: 0 }));
        const failedOverAt = toIso(Date.now());
        const point = (await listRecoveryPoints(store, vm)).find(({ id }) => id === recoveryPoint);
        const description = await readDescription(store, vm);
        if (!point || !description) {
          throw new CatalogueError('InvalidReplicaState', `recovery point ${recoveryPoint} of ${vm} no longer exists`);
        }
        // Keeps everything the guest has written since.
        if ((await runningReplica(vm))?.from !== point.id) {
          await createReplicaVm(compute, await replicaVmAt(store, description, point, failoverEpoch));
        }
        await recordFailover(store, vm, failoverEpoch, point);
        return { failedOverAt };
      });
    },
  };
}

/** @param from point of the running VM; undefined if it is unknown. @returns the reason why it cannot be used. */
function notTakenOver(vm: string, wanted: string, from: string | undefined): string | undefined {
  if (from === undefined)
    return `the replica VM ${vm} is already running, but the vault does not record its recovery point`;
  if ([LATEST, LATEST_PROCESSED, from].includes(wanted)) return undefined;
  return `the replica VM ${vm} is already running, from recovery point ${from}; choose \`${LATEST}\` to continue with it`;
}

/**
 * Deletes a replica VM left by a failover that was given up halfway. Either it never ran, or it is being booted just
 * now for a failover that was taken over from after this one had found it off.
 */
export async function createReplicaVm(compute: RecoveryCompute, spec: ReplicaVmSpec): Promise<void> {
  try {
    await compute.createVm(spec);
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidVmState') throw error;
    const left = (await compute.listVms()).find(({ name }) => name === spec.description.vm);
    if (!left) throw error;
    await compute.deleteVm(left.name, { madeBefore: spec.epoch });
    await compute.createVm(spec);
  }
}

/** Records in the store that the VM runs at the recovery site, for readers that come without Temporal. */
export const recordFailover = (store: ReplicaStore, vm: string, epoch: number, point: RecoveryPoint): Promise<void> =>
  writeVaultState(store, vm, {
    epoch,
    phase: 'FailedOver',
    recoveryPoint: point.id,
    recoveryPointTime: point.time,
    at: toIso(Date.now()),
  });
