/** Activities of the Azure worker: they use the replica store and the recovery site's compute. */
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import type { Job } from '../domain/job.js';
import type { DiskWrite } from '../domain/last-cut.js';
import type { NamedPoint } from '../domain/named-points.js';
import type { Policy } from '../domain/policy.js';
import type { SiteVm } from '../domain/site.js';
import { toIso } from '../domain/time.js';
import { recoveryPointId, vaultPaths, type AppliedState, type ReplicaDescription } from '../domain/vault.js';
import { applyCycle } from '../replication/apply.js';
import { createPointIfWorth, createPointOfCycle } from '../replication/cycle-point.js';
import { pruneCycles } from '../replication/cycles.js';
import { replicaVmAt } from '../replication/described-point.js';
import { pruneExpired, withRoom } from '../replication/make-room.js';
import { deleteRecoveryPoints, listRecoveryPoints } from '../replication/recovery-points.js';
import { prepareReplica } from '../replication/replica.js';
import {
  keepPolicy,
  mendDescription,
  readApplied,
  readDescription,
  readVaultState,
  vmFence,
  writeDescription,
  writeVaultState,
} from '../replication/replica-state.js';
import { releaseSeed } from '../replication/seed-record.js';
import { verifySeed } from '../replication/verify-seed.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { alertActivities } from './alerts.js';
import { cancelFailoverActivities } from './cancel-failover.js';
import { changePointActivities } from './change-point.js';
import { failbackSourceActivities } from './failback-source.js';
import { classified } from './failures.js';
import { beating } from './heartbeat.js';
import { recordFailover, unplannedFailoverActivities } from './unplanned-failover.js';
import { clearLeftTest, refuseReplicaVm, refuseTestName, removalActivities } from './removal.js';
import { replicaVmActivities } from './replica-vm.js';
import { testFailoverActivities } from './test-failover.js';
import { Turns } from './turns.js';
import { digestActivities } from './verification.js';

export interface TargetDeps {
  readonly store: ReplicaStore;
  readonly compute: RecoveryCompute;
  /** Networks and subnets of the recovery site. */
  readonly networks: readonly { readonly name: string; readonly subnets: readonly string[] }[];
  /** The VMs of the site file, with the checks of their test VMs. No test VM gets one of their names. */
  readonly siteVms?: readonly Pick<SiteVm, 'name' | 'checks'>[];
  /** Receives a request when the health of a VM changes; an http or https address. */
  readonly webhook?: string;
  readonly turns?: Turns;
}

export interface CycleToApply extends Fence {
  readonly vm: string;
  readonly retentionHours: number;
  /** Kept in the vault beside the replica. */
  readonly policy?: Policy;
}

export interface AppliedCycle {
  readonly sequence: number;
  readonly sealedAt: string;
  readonly final: boolean;
  readonly lastWrites: readonly DiskWrite[];
  readonly recoveryPoint?: { readonly id: string; readonly time: string };
  /** All recovery points that have a name. */
  readonly namedPoints?: readonly NamedPoint[];
}

export type TargetActivities = ReturnType<typeof createTargetActivities>;

export function createTargetActivities({
  store,
  compute,
  networks,
  siteVms,
  webhook,
  turns = new Turns(),
}: TargetDeps) {
  const description = async (vm: string): Promise<ReplicaDescription> => {
    const found = await readDescription(store, vm);
    if (!found) throw new CatalogueError('InvalidReplicaState', `the store holds no description of ${vm}`);
    return found;
  };
  const checkNetworks = (adapters: ReplicaDescription['networkAdapters']) => {
    for (const adapter of adapters) {
      const network = networks.find((candidate) => candidate.name === adapter.network);
      if (!network?.subnets.includes(adapter.subnet)) {
        throw new CatalogueError(
          'PrerequisitesNotMet',
          `network adapter ${adapter.name}: there is no subnet ${adapter.subnet} in Azure network ${adapter.network}`,
        );
      }
    }
  };
  return classified({
    ...unplannedFailoverActivities({ store, compute }),
    ...removalActivities({ store, compute }),
    ...replicaVmActivities({ store, compute }),
    ...changePointActivities({ store, compute }),
    ...cancelFailoverActivities({ store, compute }),
    ...testFailoverActivities({ store, compute, ...(siteVms && { siteVms }) }),
    ...failbackSourceActivities({ store, compute, turns }),
    ...alertActivities(webhook),
    ...digestActivities(store, turns),

    /** @returns the epoch of the new protection: higher than every epoch in the store or in the source's tracking. */
    async identifyTarget(input: {
      vm: string;
      networkAdapters: ReplicaDescription['networkAdapters'];
      trackedEpoch: number;
    }): Promise<{ epoch: number }> {
      checkNetworks(input.networkAdapters);
      const fence = await store.objects.readFence(vaultPaths.vm(input.vm));
      return { epoch: Math.max(fence.epoch, input.trackedEpoch) + 1 };
    },

    /** Creates the replica disks and the VM's description, and fences out any earlier writer. */
    async prepareReplica({ description: wanted }: { description: ReplicaDescription }): Promise<void> {
      await refuseReplicaVm(compute, wanted.vm, 'a new initial replication');
      await clearLeftTest({ store, compute }, wanted.vm);
      await refuseTestName(compute, wanted.vm);
      await prepareReplica(store, wanted, { epoch: wanted.epoch, sequence: 0 });
    },

    /** Reads a disk's replica back and compares it with what was read at the source. */
    async verifySeed({ vm, epoch, disk }: { vm: string; epoch: number; disk: string }): Promise<void> {
      await turns.beating('copies', 0, (beat) =>
        withRoom(
          store,
          { vm, epoch, retention: 'kept' },
          async () => await verifySeed(store, { vm, epoch, disk }, beat),
        ),
      );
    },

    /**
     * Applies one cycle to all replica disks and makes a recovery point of it. Before that, deletes points that the
     * policy no longer keeps, to free space; after it, those that the new point makes obsolete.
     */
    async applyCycle(input: CycleToApply): Promise<AppliedCycle> {
      const { vm, epoch, sequence } = input;
      return turns.beating('cycles', 0, async (beat) => {
        const retention = { hours: input.retentionHours, at: toIso(Date.now()) };
        const prune = async ({ sealedAt }: { sealedAt: string }) =>
          await pruneExpired(store, { vm, epoch, sealedAt, retention });
        const { applied, point } = await withRoom(store, { vm, epoch, retention }, async () => {
          const newest = await applyCycle(store, { vm, epoch, sequence }, { ...beat, beforeWriting: prune });
          // Kept for adopting the VM if Temporal's database is lost.
          if (input.policy) await keepPolicy(store, vm, input.policy, { epoch, sequence });
          await mendDescription(store, vm, { epoch, sequence });
          return { applied: newest, point: await createPointIfWorth(store, vm, newest) };
        });
        const { kept } = await prune(applied);
        await pruneCycles(store, { vm, epoch });
        return {
          ...appliedCycleOf(applied),
          ...(point && { recoveryPoint: { id: point.id, time: point.time } }),
          namedPoints: kept.flatMap(({ id, tags = [] }) => tags.map((tag) => ({ tag, id }))),
        };
      });
    },

    /** Completes the replica VM's settings: network interfaces, boot disk, size. */
    async finalizeReplica(input: {
      vm: string;
      epoch: number;
      networkAdapters: ReplicaDescription['networkAdapters'];
    }): Promise<void> {
      const { vm, epoch, networkAdapters } = input;
      checkNetworks(networkAdapters);
      const applied = await requireApplied(vm, epoch);
      await writeDescription(store, { ...(await description(vm)), networkAdapters, finalized: true }, applied);
      await releaseSeed(store, { vm, epoch });
    },

    /** Checks that the replica can be failed over to. */
    async checkFailoverTarget({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      const found = await description(vm);
      if (found.epoch !== epoch || !found.finalized) {
        throw new CatalogueError(
          'InvalidReplicaState',
          `the replica of ${vm} is of epoch ${found.epoch}, expected a finalized one of ${epoch}`,
        );
      }
      checkNetworks(found.networkAdapters);
      await requireApplied(vm, epoch);
    },

    /**
     * Takes the right to write away from the source: raises the epoch, makes a recovery point of the newest state, and
     * creates the replica VM from it, powered off.
     */
    async startFailover(input: {
      vm: string;
      epoch: number;
      failoverEpoch: number;
    }): Promise<{ recoveryPoint: { id: string; time: string } }> {
      const { vm, epoch, failoverEpoch } = input;
      return beating(0, async () => {
        const applied = await requireApplied(vm, epoch);
        const id = recoveryPointId(applied.epoch, applied.sequence);
        const find = async () => (await listRecoveryPoints(store, vm)).find((candidate) => candidate.id === id);
        // The point can only be made before the fence rises; a second attempt finds the point.
        if (!(await find())) await createPointOfCycle(store, vm, applied);
        await store.objects.raiseFence(vmFence(vm, { epoch: failoverEpoch, sequence: 0 }));
        const point = await find();
        if (!point) throw new CatalogueError('InvalidReplicaState', `recovery point ${id} of ${vm} no longer exists`);
        await compute.createVm(await replicaVmAt(store, await description(vm), point, failoverEpoch));
        await recordFailover(store, vm, failoverEpoch, point);
        return { recoveryPoint: { id, time: point.time } };
      });
    },

    /** Boots the replica VM. @returns where its disks are served. */
    async startReplicaVm({
      vm,
      epoch,
    }: {
      vm: string;
      epoch: number;
    }): Promise<{ startedAt: string; disks: { name: string; nbdUri?: string }[] }> {
      const started = await compute.startVm(vm, epoch);
      return {
        startedAt: toIso(Date.now()),
        disks: started.disks.map(({ name, nbdUri }) => ({ name, ...(nbdUri !== undefined && { nbdUri }) })),
      };
    },

    /** Checks that a replica VM is running, which the commit makes permanent. */
    async checkCommit({ vm }: { vm: string }): Promise<void> {
      const found = (await compute.listVms()).find((candidate) => candidate.name === vm);
      if (found?.state !== 'Running') {
        throw new CatalogueError(
          'InvalidVmState',
          `the replica VM ${vm} is ${found ? found.state : 'missing'}, expected Running`,
        );
      }
    },

    /**
     * Deletes all recovery points except the one that the replica VM's disks are based on. @returns epoch and point of a
     * newer replica VM, if a job that changed the recovery point ended before it could report them.
     */
    async commitFailover({
      vm,
      epoch,
      recoveryPoint,
    }: {
      vm: string;
      epoch: number;
      recoveryPoint: string;
    }): Promise<{ deleted: number; newer?: { epoch: number; recoveryPoint: { id: string; time: string } } }> {
      const state = await readVaultState(store, vm);
      const newer = state && state.epoch > epoch ? state : undefined;
      const deleted = await deleteRecoveryPoints(store, {
        ...{ vm, epoch: newer?.epoch ?? epoch, keep: [newer?.recoveryPoint ?? recoveryPoint] },
      });
      if (state) await writeVaultState(store, vm, { ...state, phase: 'Committed', at: toIso(Date.now()) });
      return {
        deleted: deleted.length,
        ...(newer && {
          newer: { epoch: newer.epoch, recoveryPoint: { id: newer.recoveryPoint, time: newer.recoveryPointTime } },
        }),
      };
    },

    /** Stores the record of a finished job in the vault, where it outlives Temporal. */
    async recordJob({ job }: { job: Job }): Promise<void> {
      const fence = { scope: 'jobs', epoch: 0, sequence: 0 };
      await store.objects.put(vaultPaths.jobRecord(job.id), Buffer.from(JSON.stringify(job, null, 2)), fence);
    },
  });

  async function requireApplied(vm: string, epoch: number): Promise<AppliedState> {
    const applied = await readApplied(store, vm);
    if (applied?.epoch !== epoch) {
      throw new CatalogueError('InvalidReplicaState', `the replica of ${vm} holds no cycle of epoch ${epoch}`);
    }
    return applied;
  }
}

const appliedCycleOf = (applied: AppliedState) => ({
  sequence: applied.sequence,
  sealedAt: applied.sealedAt,
  final: applied.final,
  lastWrites: applied.disks,
});
