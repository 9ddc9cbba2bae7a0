/**
 * Activities of a test failover and its clean-up. They need only the recovery site, and change neither the replica nor
 * the replica VM.
 */
import { CatalogueError } from '../domain/errors.js';
import type { SiteVm } from '../domain/site.js';
import { toIso } from '../domain/time.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { replicaVmAt } from '../replication/described-point.js';
import { readDescription } from '../replication/replica-state.js';
import { readTestHold } from '../replication/test-hold.js';
import { findTestPoint, heldTestPoint, holdTestPoint, releaseTestPoint } from '../replication/test-point.js';
import { beating } from './heartbeat.js';
import { checkTestVm, type Checked } from './test-checks.js';

export interface TestFailoverDeps {
  readonly store: ReplicaStore;
  readonly compute: RecoveryCompute;
  /** The VMs of the site file, with the checks of their test VMs. */
  readonly siteVms?: readonly Pick<SiteVm, 'name' | 'checks'>[];
}

export interface TestVmInput {
  readonly testVm: string;
}

export function testFailoverActivities({ store, compute, siteVms = [] }: TestFailoverDeps) {
  const find = async (testVm: string) => (await compute.listTestVms()).find(({ name }) => name === testVm);
  const isTaken = async (testVm: string) =>
    siteVms.some(({ name }) => name === testVm) ||
    (await readDescription(store, testVm)) !== undefined ||
    (await compute.listVms()).some(({ name }) => name === testVm);

  const checksOf = (vm: string) => siteVms.find(({ name }) => name === vm)?.checks ?? [];

  return {
    /**
     * Changes nothing.
     * @param input.wanted `latest`, `latest-app-consistent`, or the ID or name of a recovery point.
     * @returns the reason why there can be no test failover, if there is one.
     */
    async checkTestFailover({
      vm,
      testVm,
      wanted,
    }: TestVmInput & { vm: string; wanted: string }): Promise<{ refusal?: string }> {
      const description = await readDescription(store, vm);
      if (!description?.finalized) return { refusal: `the vault holds no complete replica of ${vm}` };
      if (await isTaken(testVm)) {
        return { refusal: `the test VM would be named ${testVm}, but another VM has this name; rename that VM` };
      }
      try {
        await findTestPoint(store, vm, wanted);
        return {};
      } catch (error) {
        if (error instanceof CatalogueError && error.code === 'RecoveryPointNotFound')
          return { refusal: error.message };
        throw error;
      }
    },

    /** Deletes a test VM that an earlier test failover has left behind, and holds the recovery point. */
    async beginTestFailover({
      vm,
      testVm,
      wanted,
      jobId,
    }: TestVmInput & { vm: string; wanted: string; jobId: string }): Promise<{
      recoveryPoint: { id: string; time: string };
    }> {
      return beating(0, async () => {
        // A late attempt must not delete what this job has made since.
        if ((await readTestHold(store, vm))?.jobId !== jobId) await compute.deleteTestVm(testVm);
        const { id, time } = await holdTestPoint(store, { vm, wanted, testVm, jobId, since: toIso(Date.now()) });
        return { recoveryPoint: { id, time } };
      });
    },

    /** Creates the test VM, powered off, from the recovery point that the job holds. */
    async createTestVm({ vm, testVm, jobId }: TestVmInput & { vm: string; jobId: string }): Promise<void> {
      await beating(0, async () => {
        const description = await readDescription(store, vm);
        if (!description) throw new CatalogueError('InvalidReplicaState', `the vault holds no description of ${vm}`);
        const point = await heldTestPoint(store, vm, jobId);
        await compute.createTestVm({ ...(await replicaVmAt(store, description, point, point.epoch)), name: testVm });
      });
    },

    async startTestVm({ testVm }: TestVmInput): Promise<{ startedAt: string }> {
      await compute.startTestVm(testVm);
      return { startedAt: toIso(Date.now()) };
    },

    /** Checks the guest, and keeps the end of its console and its screen in the store. */
    async checkTestVm({ vm, testVm, jobId }: TestVmInput & { vm: string; jobId: string }): Promise<Checked> {
      const task = { vm, testVm, jobId, checks: checksOf(vm) };
      return beating(0, (beat) => checkTestVm(store, compute, task, beat));
    },

    async findTestVm({ testVm }: TestVmInput): Promise<{ isThere: boolean }> {
      return { isThere: (await find(testVm)) !== undefined };
    },

    /** Turns the test VM off, if it runs. */
    async endTestFailover({ testVm }: TestVmInput): Promise<void> {
      await beating(0, async () => {
        if ((await find(testVm))?.state === 'Running') await compute.turnOffTestVm(testVm);
      });
    },

    /** Deletes the test VM with everything that its guest has written. */
    async deleteTestVm({ testVm }: TestVmInput): Promise<void> {
      await beating(0, () => compute.deleteTestVm(testVm));
    },

    /** No longer holds the recovery point, and deletes what was kept only for the test. */
    async releaseTestPoint({ vm }: { vm: string }): Promise<{ pointsDeleted: number }> {
      return beating(0, async () => ({ pointsDeleted: await releaseTestPoint(store, vm) }));
    },
  };
}
