/** Activities of an unplanned failover: of the two sites they need the recovery side alone. */
import { CatalogueError } from '../domain/errors.js';
import { toIso } from '../domain/time.js';
import { vaultPaths, type RecoveryPoint } from '../domain/vault.js';
import { replicaVmAt } from '../replication/described-point.js';
import { failoverPoint, LATEST, pointProblem, processReceived } from '../replication/failover-point.js';
import { listRecoveryPoints } from '../replication/recovery-points.js';
import { readDescription, vmFence, writeVaultState } from '../replication/replica-state.js';
import type { RecoveryCompute, ReplicaStore, ReplicaVmSpec } from '../sites/ports.js';
import { beating } from './heartbeat.js';

export interface SettledPoint {
  readonly recoveryPoint: { readonly id: string; readonly time: string };
  readonly cyclesProcessed: number;
  /** Why not every received cycle could be applied. */
  readonly stoppedBy?: string;
}

const ATTEMPTS = 3;

export function unplannedFailoverActivities({ store, compute }: { store: ReplicaStore; compute: RecoveryCompute }) {
  return {
    /**
     * Is there a state to go back to, and no replica VM yet?
     * @param input.wanted latest, latest-processed, or a recovery point's id.
     * @returns the epoch the failover gets: above every one the store has seen. Or why there can be none.
     */
    async checkUnplannedFailover({ vm, wanted }: { vm: string; wanted: string }): Promise<{
      failoverEpoch: number;
      refusal?: string;
    }> {
      const fence = await store.readFence(vaultPaths.vm(vm));
      const running = (await compute.listVms()).find(({ name, state }) => name === vm && state === 'Running');
      const refusal = running
        ? `the replica VM ${vm} is running already`
        : (await readDescription(store, vm))
          ? await pointProblem(store, vm, wanted)
          : `the vault holds no description of ${vm}`;
      // One is left out: a resynchronization that was let go may be taking it just now, and must not share ours.
      return { failoverEpoch: fence.epoch + 2, ...(refusal !== undefined && { refusal }) };
    },

    /** For `latest` everything received is applied first. Repeated it goes on where it was. */
    async settleRecoveryPoint({ vm, wanted }: { vm: string; wanted: string }): Promise<SettledPoint> {
      return beating(0, async ({ signal }) => {
        for (let attempt = 1; ; attempt += 1) {
          const processed = wanted === LATEST ? await processReceived(store, vm, { signal }) : { cycles: 0 };
          try {
            const { id, time } = await failoverPoint(store, vm, wanted);
            return {
              recoveryPoint: { id, time },
              cyclesProcessed: processed.cycles,
              ...(processed.stoppedBy !== undefined && { stoppedBy: processed.stoppedBy }),
            };
          } catch (error) {
            // A cycle that was let go may be going on: it has raised the sequence, and is taken in the next time.
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
        await store.raiseFence(vmFence(vm, { epoch: failoverEpoch, sequence: 0 }));
        const failedOverAt = toIso(Date.now());
        const point = (await listRecoveryPoints(store, vm)).find(({ id }) => id === recoveryPoint);
        const description = await readDescription(store, vm);
        if (!point || !description) {
          throw new CatalogueError('InvalidReplicaState', `recovery point ${recoveryPoint} of ${vm} is gone`);
        }
        await createReplicaVm(compute, await replicaVmAt(store, description, point, failoverEpoch));
        await recordFailover(store, vm, failoverEpoch, point);
        return { failedOverAt };
      });
    },
  };
}

/** What a failover left that was given up half-way never ran, and makes room. */
async function createReplicaVm(compute: RecoveryCompute, spec: ReplicaVmSpec): Promise<void> {
  try {
    await compute.createVm(spec);
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidVmState') throw error;
    const left = (await compute.listVms()).find(({ name }) => name === spec.description.vm);
    if (left?.state !== 'Off') throw error;
    await compute.deleteVm(left.name);
    await compute.createVm(spec);
  }
}

/** Says in the store that the VM runs at the recovery side: whoever comes without Temporal has to know. */
export const recordFailover = (store: ReplicaStore, vm: string, epoch: number, point: RecoveryPoint): Promise<void> =>
  writeVaultState(store, vm, {
    epoch,
    phase: 'FailedOver',
    recoveryPoint: point.id,
    recoveryPointTime: point.time,
    at: toIso(Date.now()),
  });
