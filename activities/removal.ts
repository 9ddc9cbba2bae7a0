/** Activities of the Azure worker that end a VM's protection at the recovery site. */
import { CatalogueError } from '../domain/errors.js';
import { toIso } from '../domain/time.js';
import { underCurrentFence } from '../replication/point-leases.js';
import { keepReplica, removeReplica } from '../replication/remove-replica.js';
import { deleteTestHold, readTestHold } from '../replication/test-hold.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { beating } from './heartbeat.js';

export interface RemovalDeps {
  readonly store: ReplicaStore;
  readonly compute: RecoveryCompute;
}

/** @throws CatalogueError InvalidVmState: a replica VM uses the disks that were to be overwritten or deleted. */
export async function refuseReplicaVm(compute: RecoveryCompute, vm: string, deed: string): Promise<void> {
  if (!(await compute.listVms()).some(({ name }) => name === vm)) return;
  throw new CatalogueError('InvalidVmState', `there is a replica VM ${vm}; ${deed} would destroy its disks`);
}

/**
 * Protection begins and ends without a test failover, so what there is of one then was left behind: the test VM, and
 * the hold of its recovery point.
 */
export async function clearLeftTest({ store, compute }: RemovalDeps, vm: string): Promise<void> {
  for (const { name, testOf } of await compute.listTestVms()) if (testOf === vm) await compute.deleteTestVm(name);
  if (await readTestHold(store, vm))
    await underCurrentFence(store, vm, async (fence) => await deleteTestHold(store, vm, fence));
}

/** @throws CatalogueError InvalidVmState: a test VM has the name that the VM's replica VM would get. */
export async function refuseTestName(compute: RecoveryCompute, vm: string): Promise<void> {
  const test = (await compute.listTestVms()).find(({ name }) => name === vm);
  if (!test) return;
  const instead = `first run: farshore cleanup-test-failover ${test.testOf} --wait`;
  throw new CatalogueError('InvalidVmState', `${vm} is the name of the test VM of ${test.testOf}; ${instead}`);
}

export const removalActivities = ({ store, compute }: RemovalDeps) => ({
  /** Deletes the replica and all other data of the VM in the store. Refused while a replica VM uses it. */
  async removeReplica({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
    await beating(0, async () => {
      await refuseReplicaVm(compute, vm, 'removing its replica');
      await clearLeftTest({ store, compute }, vm);
      await removeReplica(store, { vm, epoch });
    });
  },

  /** Keeps disks and recovery points; the VM's description says so. */
  async keepReplica({ vm, epoch, inUse }: { vm: string; epoch: number; inUse: boolean }): Promise<void> {
    await beating(0, () => keepReplica(store, { vm, epoch, inUse, unprotectedAt: toIso(Date.now()) }));
  },
});
