/**
 * The typed client library: everything that the `farshore` command can do, for scripts. It asks Temporal about
 * protected VMs and running work. On the machine that has them, it also asks the hypervisors and the store.
 */
import { randomUUID } from 'node:crypto';
import {
  Client,
  type Connection,
  WorkflowIdConflictPolicy,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  type WorkflowHandle,
} from '@temporalio/client';
import { viewOf, type ProtectedItemView } from '../domain/item-view.js';
import { nameSchema, protectedItemId, taskQueues } from '../domain/ids.js';
import { waitsForPerson, type Job, type JobParameters } from '../domain/job.js';
import type { JobPreview, PreviewedKind } from '../domain/job-preview.js';
import type { JobOperation } from '../domain/jobs/known-jobs.js';
import type { RecoveryPlan } from '../domain/plan.js';
import type { PlanRun } from '../domain/plan-run.js';
import { policyNamed, policyNames, policyOf, vmmServerOf, type Site, type SiteVm } from '../domain/site.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { FoundLeftovers, ItemOf, Leftover, Places } from '../local/leftovers.js';
import { clientDataConverter, configuredKeys } from '../temporal/encryption/data-converter.js';
import { connectChecked, connectTarget } from '../temporal/connection.js';
import type { TemporalTarget } from '../temporal/problem.js';
import * as messages from '../workflows/messages.js';
import { cancelJob } from './cancel-job.js';
import { answerOf } from './temporal-answer.js';
import { answered } from './answered.js';
import { unlessEnding } from './ending-protection.js';
import { RefusedError } from './errors.js';
import type { ConnectOptions } from './connect-options.js';
import { keyGuard } from './key-guard.js';
import { follow, hasEnded, onceBegun } from './follow.js';
import { listedWorkflowIds } from './listed-workflow-ids.js';
import { previewJob } from './preview-job.js';
import { startPlanRun } from './start-plan-run.js';
import { workflowState } from './workflow-state.js';

type ProtectVm = (input: messages.ProtectVmInput) => Promise<ProtectedItem>;

export type Entity = WorkflowHandle<ProtectVm>;

export class Farshore {
  private constructor(
    readonly site: Site,
    readonly temporal: Client,
    private readonly connection: Connection,
    private readonly target: TemporalTarget,
  ) {}

  /**
   * Data in Temporal is encrypted and decrypted with the keys that `FARSHORE_ENCRYPTION_KEYS` names, if it is set.
   * @throws UnreachableError if Temporal does not answer; RefusedError if it can't be used as configured. Both say what
   * is wrong, where it was configured, and what to do. DocumentError for the key file.
   */
  static async connect(options: ConnectOptions): Promise<Farshore> {
    const { site, onRemark, ...given } = options;
    const target = connectTarget(given);
    const keys = await configuredKeys();
    const dataConverter = clientDataConverter(keys);
    const connection = await connectChecked(target, ({ message }) => onRemark?.(message)).catch((error: unknown) => {
      throw answerOf(error);
    });
    const { namespace } = target;
    const interceptors = { workflow: [keyGuard(connection, namespace, site.vault.name, keys)] };
    return new Farshore(site, new Client({ connection, namespace, dataConverter, interceptors }), connection, target);
  }

  get namespace(): string {
    return this.temporal.options.namespace;
  }

  async close(): Promise<void> {
    await this.connection.close();
  }

  /** @throws RefusedError if the site file does not name the VM. */
  siteVm(name: string): SiteVm {
    const vm = this.site.vms.find((candidate) => candidate.name === name);
    if (vm) return vm;
    throw new RefusedError(
      `VM ${name} is not in the site file; it has: ${this.site.vms.map((each) => each.name).join(', ')}`,
    );
  }

  /**
   * The state of a VM; undefined if it is not protected. The site file may no longer name the VM.
   * @throws RefusedError if the VM is neither protected nor in the site file.
   */
  async protectedItem(vm: string): Promise<ProtectedItemView | undefined> {
    const view = nameSchema.safeParse(vm).success ? await this.#protectedItem(vm) : undefined;
    if (!view) this.siteVm(vm);
    return view;
  }

  async #protectedItem(vm: string): Promise<ProtectedItemView | undefined> {
    try {
      const id = protectedItemId(this.site.vault.name, vm);
      const { state, status } = await this.answer(() =>
        workflowState<ProtectedItem>(this.temporal, id, 'protectedItem'),
      );
      return state && status === 'RUNNING' ? viewOf(state, new Date().toISOString()) : undefined;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  /**
   * Starts protecting a VM.
   * @returns the job "Enable protection".
   * @param requestId a repetition with the same ID changes nothing and returns the same answer.
   * @throws RefusedError if the VM is already protected.
   */
  async protect(name: string, requestId: string = randomUUID()): Promise<messages.JobAccepted> {
    const vm = this.siteVm(name);
    const vault = this.site.vault.name;
    const vmmServer = vmmServerOf(this.site, vm.host);
    const input = { vault, vm: name, host: vm.host, vmmServer, policy: policyOf(this.site, vm) };
    return unlessEnding(async () => {
      await this.temporal.workflow.start<ProtectVm>('protectVm', {
        workflowId: protectedItemId(vault, name),
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
        taskQueue: taskQueues.azure(vault),
        staticSummary: `Protection of ${name}`,
        args: [{ ...input, tuning: messages.tuningOfNextRun(undefined) }],
      });
      return this.startJob(name, 'enableProtection', {}, requestId);
    });
  }

  /**
   * Requests a cycle now.
   * @returns its number.
   * @param tag names the cycle's recovery point, which is made even if nothing has changed.
   */
  async sync(vm: string, tag?: string, requestId: string = randomUUID()): Promise<messages.SyncAccepted> {
    const request = { requestId, ...(tag !== undefined && { tag }) };
    return this.ask(vm, (entity) => entity.executeUpdate(messages.syncUpdate, { args: [request] }));
  }

  /**
   * Compares both sites and sends the differences, now or in the window of the VM's policy.
   * @returns the job, if it starts now.
   */
  async resynchronize(
    vm: string,
    now: boolean,
    requestId: string = randomUUID(),
  ): Promise<{ readonly jobId?: string }> {
    return this.ask(vm, (entity) => entity.executeUpdate(messages.resynchronizeUpdate, { args: [{ requestId, now }] }));
  }

  /** Retries the failed step now. */
  async retry(vm: string, requestId: string = randomUUID()): Promise<{ readonly retried: string }> {
    return this.ask(vm, (entity) => entity.executeUpdate(messages.retryUpdate, { args: [{ requestId }] }));
  }

  /**
   * Requests a job for a protected VM.
   * @param parameters parameters of the job, see `JobParameters`.
   * @throws RefusedError with the reason if the VM's state does not allow it now.
   */
  async startJob(
    vm: string,
    operation: JobOperation,
    parameters: JobParameters = {},
    requestId: string = randomUUID(),
  ): Promise<messages.JobAccepted> {
    const update = messages.jobUpdates[operation];
    return this.ask(vm, (entity) => entity.executeUpdate(update, { args: [{ requestId, parameters }] }));
  }

  /**
   * Runs the prerequisites checks of a job and changes nothing.
   * @returns what the job would do now, and everything that prevents it, including the VM's state.
   * @throws RefusedError if the VM is not protected, UnreachableError if no worker answers.
   */
  async previewJob(vm: string, kind: PreviewedKind, parameters: JobParameters = {}): Promise<JobPreview> {
    const view = await this.protectedItem(vm);
    if (!view) throw new RefusedError(`${vm}: the VM is not protected`);
    const permission = view.operations[kind];
    if (!permission.allowed) return { blockers: [permission.reason] };
    const { vault, host, vmmServer, epoch } = view.item;
    const input = { vault, vm, host, vmmServer, epoch, kind, parameters };
    return await previewJob(this.temporal, input, (call) => this.answer(call));
  }

  /**
   * Deletes the replica VM of a failed-over VM, with everything written to it, and creates it again from another point.
   * @param recoveryPoint `latest` (the newest one), `latest-app-consistent`, or the id or name of a point.
   * @param reason kept in the job's record.
   * @returns the job "Change recovery point".
   */
  async changeRecoveryPoint(vm: string, recoveryPoint: string, reason?: string): Promise<messages.JobAccepted> {
    return this.startJob(vm, 'changeRecoveryPoint', { recoveryPoint, ...(reason !== undefined && { reason }) });
  }

  /**
   * Runs a failed-over VM at the primary site again, as its source was left there; what it has written at the recovery
   * site is discarded.
   * @param reason kept in the job's record.
   * @returns the job "Cancel failover".
   */
  async cancelFailover(vm: string, reason?: string): Promise<messages.JobAccepted> {
    return this.startJob(vm, 'cancelFailover', { ...(reason !== undefined && { reason }) });
  }

  /**
   * Starts a test VM from a recovery point, in a network of its own, while replication of the VM continues.
   * @param options.recoveryPoint `latest` (default), `latest-app-consistent`, or the ID or name of a point.
   * @param options.cleanUpAfterSeconds the test VM is deleted automatically after this time; default: a day.
   * @throws RefusedError with the reason if the VM's state does not allow it.
   */
  async testFailover(
    vm: string,
    options: Pick<JobParameters, 'recoveryPoint' | 'cleanUpAfterSeconds' | 'reason'> = {},
    requestId: string = randomUUID(),
  ): Promise<messages.JobAccepted> {
    return this.startJob(vm, 'testFailover', options, requestId);
  }

  /** Ends a test failover and deletes the test VM. @throws RefusedError if there is none. */
  async cleanUpTestFailover(
    vm: string,
    notes?: string,
    requestId: string = randomUUID(),
  ): Promise<messages.JobAccepted> {
    return this.startJob(vm, 'cleanupTestFailover', { ...(notes !== undefined && { notes }) }, requestId);
  }

  /** Lets a failback that was started with `synchronize: 'before'` shut the replica VM down. @returns its job. */
  async completeFailback(vm: string): Promise<messages.JobAccepted> {
    const requestId = randomUUID();
    return this.ask(vm, (entity) => entity.executeUpdate(messages.completeFailbackUpdate, { args: [{ requestId }] }));
  }

  /** Pauses replication; changes are still tracked. @throws RefusedError if the VM's state does not allow it. */
  async pause(vm: string): Promise<{ readonly since: string }> {
    const requestId = randomUUID();
    return this.ask(vm, (entity) => entity.executeUpdate(messages.pauseUpdate, { args: [{ requestId }] }));
  }

  /** Ends a pause and starts a cycle now. @throws RefusedError if the VM is not paused. */
  async resume(vm: string): Promise<messages.NextCycle> {
    const requestId = randomUUID();
    return this.ask(vm, (entity) => entity.executeUpdate(messages.resumeUpdate, { args: [{ requestId }] }));
  }

  /**
   * Replicates the VM under another policy from its next cycle on.
   * @param name name of a policy in the site file; `default` always exists.
   * @throws RefusedError if there is no such policy or the VM is not protected.
   */
  async setPolicy(vm: string, name: string): Promise<messages.NextCycle> {
    const policy = policyNamed(this.site, name);
    if (!policy) throw new RefusedError(`there is no policy ${name}; use one of: ${policyNames(this.site).join(', ')}`);
    const args: [messages.PolicyRequest] = [{ requestId: randomUUID(), policy }];
    return this.ask(vm, (entity) => entity.executeUpdate(messages.setPolicyUpdate, { args }));
  }

  /**
   * @param plan must have been checked against the site.
   * @returns the ID of the run.
   * @throws UnreachableError if no worker would run it.
   */
  async runPlan(plan: RecoveryPlan, type: 'planned'): Promise<string> {
    return this.answer(() => startPlanRun(this.temporal, { vault: this.site.vault.name, plan, type }));
  }

  /** @throws RefusedError if there is no such run. */
  async planRun(id: string): Promise<PlanRun> {
    return this.state(id, 'plan run', 'planRun');
  }

  /** @throws RefusedError if there is no such job. */
  async job(id: string): Promise<Job> {
    return this.state(id, 'job', 'job');
  }

  /**
   * Asks a running job to end and to undo what it can.
   * @throws RefusedError if there is no such job or it has ended.
   */
  async cancelJob(id: string): Promise<void> {
    await this.known(id, 'running job', () => cancelJob(this.temporal.workflow.getHandle(id)));
  }

  /** The newest run of the workflow with this ID; undefined if there has been none recently. */
  async newestRun(workflowId: string): Promise<string | undefined> {
    try {
      const { runId } = await this.answer(() => this.temporal.workflow.getHandle(workflowId).describe());
      return runId;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  /** Newest first. @param limit maximum number of jobs. */
  async jobs(limit: number): Promise<Job[]> {
    const query = `FarshoreVault = '${this.site.vault.name}' AND FarshoreJobState IS NOT NULL AND FarshoreJob != 'recoveryPlan'`;
    const jobs = await Promise.all((await this.listed(query, limit)).map((id) => this.job(id)));
    return jobs.sort((a, b) => b.startedAt.localeCompare(a.startedAt));
  }

  /** Like `jobs`, for plan runs. */
  async planRuns(limit: number): Promise<PlanRun[]> {
    const query = `FarshoreVault = '${this.site.vault.name}' AND FarshoreJob = 'recoveryPlan'`;
    const runs = await Promise.all((await this.listed(query, limit)).map((id) => this.planRun(id)));
    return runs.sort((a, b) => b.startedAt.localeCompare(a.startedAt));
  }

  /** Jobs of a plan run that wait for an operator, according to the server's list. */
  async jobsWaitingForPerson(planRun: string): Promise<Job[]> {
    const query = `FarshorePlanRun = '${planRun}' AND FarshoreJobState = 'WaitingForPerson' AND ExecutionStatus = 'Running'`;
    const jobs = await Promise.all((await this.listed(query, Infinity)).map((id) => this.job(id)));
    return jobs.filter(waitsForPerson);
  }

  /**
   * Resolves with the job's record when the job has ended, whatever its outcome.
   * @param onChange called with every change seen.
   * @param until ends the wait earlier.
   */
  async followJob(
    id: string,
    onChange: (job: Job) => void = () => undefined,
    until: (job: Job) => boolean = hasEnded,
  ): Promise<Job> {
    return follow(
      onceBegun(() => this.job(id)),
      onChange,
      until,
    );
  }

  /** Like `followJob`, for a plan run. */
  async followPlanRun(
    id: string,
    onChange: (run: PlanRun) => void = () => undefined,
    until: (run: PlanRun) => boolean | Promise<boolean> = hasEnded,
  ): Promise<PlanRun> {
    return follow(() => this.planRun(id), onChange, until);
  }

  /** Resolves once the VM is in a state. @param onChange called with every change seen. */
  async followVm(
    vm: string,
    until: (view: ProtectedItemView | undefined) => boolean,
    onChange: (view: ProtectedItemView | undefined) => void = () => undefined,
  ): Promise<ProtectedItemView | undefined> {
    return follow(() => this.#protectedItem(vm), onChange, until);
  }

  /**
   * What the store, and the hypervisors and recovery compute of this machine, hold although no VM of the vault needs it.
   * @param data data folder of the instance.
   * @throws CatalogueError StoreUnreachable, ForeignVault
   */
  async leftovers(data: string): Promise<FoundLeftovers> {
    const { findLeftovers } = await import('../local/leftovers.js');
    return await this.#withPlaces(data, findLeftovers);
  }

  /**
   * Removes one of them for good, after looking again. Repeatable.
   * @throws RefusedError if there is no such leftover, or it is in use by now.
   */
  async removeLeftover(id: string, data: string): Promise<Leftover> {
    const { LeftoverRefused, removeLeftover } = await import('../local/leftovers.js');
    try {
      return await this.#withPlaces(data, (places, itemOf) => removeLeftover(places, itemOf, id));
    } catch (error) {
      throw error instanceof LeftoverRefused ? new RefusedError(error.message, { cause: error }) : error;
    }
  }

  async #withPlaces<T>(data: string, work: (places: Places, itemOf: ItemOf) => Promise<T>): Promise<T> {
    const [{ withPlaces }, { DataFolder }] = await Promise.all([
      import('../local/leftovers.js'),
      import('../config/data-folder.js'),
    ]);
    const itemOf = async (vm: string) => (await this.#protectedItem(vm))?.item;
    return await withPlaces(this.site, new DataFolder(data), (places) => work(places, itemOf));
  }

  private listed(query: string, limit: number): Promise<string[]> {
    return this.answer(() => listedWorkflowIds(this.temporal, query, limit));
  }

  private entity(vm: string): Entity {
    return this.temporal.workflow.getHandle<ProtectVm>(protectedItemId(this.site.vault.name, vm));
  }

  /** Sends a request to a VM's protection entity. @throws RefusedError with the entity's reason, UnreachableError */
  async ask<T>(vm: string, call: (entity: Entity) => Promise<T>): Promise<T> {
    try {
      return await this.answer(() => call(this.entity(vm)));
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError)
        throw new RefusedError(error.cause?.message ?? error.message, { cause: error });
      if (error instanceof WorkflowNotFoundError) {
        this.siteVm(vm);
        throw new RefusedError(`${vm}: the VM is not protected`, { cause: error });
      }
      throw error;
    }
  }

  private async state<T>(id: string, what: string, key: messages.MemoKey): Promise<T> {
    const { state } = await this.known(id, what, () => workflowState<T>(this.temporal, id, key));
    if (state === undefined) throw new RefusedError(`${id} is not a ${what}`);
    return state;
  }

  private async known<T>(id: string, what: string, call: () => Promise<T>): Promise<T> {
    try {
      return await this.answer(call);
    } catch (error) {
      if (error instanceof WorkflowNotFoundError)
        throw new RefusedError(
          `there is no ${what} ${id}; list them with: farshore ${what === 'plan run' ? 'plan' : 'job'} list`,
          { cause: error },
        );
      throw error;
    }
  }

  /** @throws UnreachableError, RefusedError */
  answer<T>(call: () => Promise<T>): Promise<T> {
    return answered(this.connection, this.target, this.site.vault.name, call);
  }
}
