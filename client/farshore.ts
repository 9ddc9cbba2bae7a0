/**
 * The typed client library: everything the `farshore` command can ask, for scripts. It talks to Temporal for what is
 * protected and running, and, on the machine that has them, to the hypervisors and the store for what they know.
 */
import { randomUUID } from 'node:crypto';
import {
  Client,
  Connection,
  WorkflowIdConflictPolicy,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  type WorkflowHandle,
} from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { planRunId, protectedItemId, taskQueues } from '../domain/ids.js';
import type { Job } from '../domain/job.js';
import type { RecoveryPlan } from '../domain/plan.js';
import { policyOf, vmmServerOf, type Site, type SiteVm } from '../domain/site.js';
import { FARSHORE_NAMESPACE } from '../workers/temporal-server.js';
import type { protectVm } from '../workflows/protect-vm.js';
import type { runRecoveryPlan } from '../workflows/run-recovery-plan.js';
import * as messages from '../workflows/messages.js';

/** The state of the VM, or of the plan, does not allow what was asked; nothing was changed. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
}

export interface ConnectOptions {
  readonly site: Site;
  /** Host and port; else what the environment configures for Temporal clients. */
  readonly address?: string;
  readonly namespace?: string;
}

/** What is asked of running workflows needs an answer within this, ms: a worker that is down is told as such. */
const ANSWER_TIMEOUT_MS = 20_000;
const POLL_MS = 500;

type Entity = WorkflowHandle<typeof protectVm>;

export class Farshore {
  private constructor(
    readonly site: Site,
    readonly temporal: Client,
    private readonly connection: Connection,
  ) {}

  /** @throws Error that names the address when Temporal can't be reached. */
  static async connect(options: ConnectOptions): Promise<Farshore> {
    const configured = options.address === undefined ? loadClientConnectConfig() : undefined;
    const connectionOptions = configured?.connectionOptions ?? { address: options.address! };
    const namespace = options.namespace ?? configured?.namespace ?? FARSHORE_NAMESPACE;
    const connection = await Connection.connect(connectionOptions).catch((error: unknown) => {
      const address = connectionOptions.address ?? 'localhost:7233';
      throw new Error(`Temporal does not answer at ${address}. Is the instance up (\`farshore up\`)?`, { cause: error });
    });
    return new Farshore(options.site, new Client({ connection, namespace }), connection);
  }

  async close(): Promise<void> {
    await this.connection.close();
  }

  /** @throws RefusedError for a VM that is not in the site file. */
  siteVm(name: string): SiteVm {
    const vm = this.site.vms.find((candidate) => candidate.name === name);
    if (vm) return vm;
    throw new RefusedError(`VM ${name} is not in the site file; it has: ${this.site.vms.map((each) => each.name).join(', ')}`);
  }

  /** What is known of a VM; undefined while it is not protected. */
  async protectedItem(vm: string): Promise<messages.ProtectedItemView | undefined> {
    this.siteVm(vm);
    try {
      const entity = this.entity(vm);
      const { status } = await entity.describe();
      if (status.name !== 'RUNNING') return undefined;
      return await this.answer(() => entity.query(messages.protectedItemQuery));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  /**
   * Starts protecting a VM. @returns the job "Enable protection".
   * @param requestId asking again with the same one changes nothing and answers the same.
   * @throws RefusedError when it is protected already.
   */
  async protect(name: string, requestId: string = randomUUID()): Promise<messages.JobAccepted> {
    const vm = this.siteVm(name);
    const vault = this.site.vault.name;
    await this.temporal.workflow.start<typeof protectVm>('protectVm', {
      workflowId: protectedItemId(vault, name),
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
      taskQueue: taskQueues.azure(vault),
      staticSummary: `Protection of ${name}`,
      args: [{ vault, vm: name, host: vm.host, vmmServer: vmmServerOf(this.site, vm.host), policy: policyOf(this.site, vm) }],
    });
    return this.ask(name, (entity) => entity.executeUpdate(messages.enableProtectionUpdate, { args: [{ requestId }] }));
  }

  /** A cycle now. @returns its number. */
  async sync(vm: string, requestId: string = randomUUID()): Promise<messages.SyncAccepted> {
    return this.ask(vm, (entity) => entity.executeUpdate(messages.syncUpdate, { args: [{ requestId }] }));
  }

  /** Tries at once what is failing. */
  async retry(vm: string, requestId: string = randomUUID()): Promise<{ readonly retried: string }> {
    return this.ask(vm, (entity) => entity.executeUpdate(messages.retryUpdate, { args: [{ requestId }] }));
  }

  async plannedFailover(vm: string, requestId: string = randomUUID()): Promise<messages.JobAccepted> {
    return this.ask(vm, (entity) => entity.executeUpdate(messages.plannedFailoverUpdate, { args: [{ requestId }] }));
  }

  async commit(vm: string, requestId: string = randomUUID()): Promise<messages.JobAccepted> {
    return this.ask(vm, (entity) => entity.executeUpdate(messages.commitFailoverUpdate, { args: [{ requestId }] }));
  }

  /** @param plan checked against the site already. @returns the id of the run. */
  async runPlan(plan: RecoveryPlan, type: 'planned'): Promise<string> {
    const vault = this.site.vault.name;
    const id = planRunId(plan.name, new Date().toISOString());
    await this.temporal.workflow.start<typeof runRecoveryPlan>('runRecoveryPlan', {
      workflowId: id,
      taskQueue: taskQueues.azure(vault),
      staticSummary: `Recovery plan ${plan.name}, ${type} failover of ${plan.groups.flatMap((group) => group.vms).join(', ')}`,
      args: [{ vault, plan, type }],
    });
    return id;
  }

  /** @throws RefusedError when there is no such run. */
  async planRun(id: string): Promise<messages.PlanRun> {
    return this.query(id, 'plan run', () => this.temporal.workflow.getHandle(id).query(messages.planRunQuery));
  }

  /** @throws RefusedError when there is no such job. */
  async job(id: string): Promise<Job> {
    return this.query(id, 'job', () => this.temporal.workflow.getHandle(id).query(messages.jobQuery));
  }

  /** Newest first. @param limit rows */
  async jobs(limit: number): Promise<Job[]> {
    const found: Job[] = [];
    const query = `FarshoreVault = '${this.site.vault.name}' AND FarshoreJobState IS NOT NULL AND FarshoreJob != 'recoveryPlan'`;
    for await (const execution of this.temporal.workflow.list({ query })) {
      const handle = this.temporal.workflow.getHandle(execution.workflowId);
      found.push(await this.answer(() => handle.query(messages.jobQuery)));
      if (found.length >= limit) break;
    }
    return found.sort((a, b) => b.startedAt.localeCompare(a.startedAt));
  }

  /** Resolves with the job's record when it has ended, however it ended. @param onChange is told of every change seen. */
  async followJob(id: string, onChange: (job: Job) => void = () => undefined): Promise<Job> {
    return this.follow(() => this.job(id), onChange);
  }

  /** As `followJob`, for a plan run. */
  async followPlanRun(id: string, onChange: (run: messages.PlanRun) => void = () => undefined): Promise<messages.PlanRun> {
    return this.follow(() => this.planRun(id), onChange);
  }

  /** Resolves once the VM is in a state. @param onChange is told of every change seen. */
  async followVm(
    vm: string,
    until: (view: messages.ProtectedItemView | undefined) => boolean,
    onChange: (view: messages.ProtectedItemView | undefined) => void = () => undefined,
  ): Promise<messages.ProtectedItemView | undefined> {
    for (;;) {
      const view = await this.protectedItem(vm);
      onChange(view);
      if (until(view)) return view;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private async follow<T extends { state: string }>(read: () => Promise<T>, onChange: (value: T) => void): Promise<T> {
    for (;;) {
      const value = await read();
      onChange(value);
      if (value.state !== 'InProgress') return value;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private entity(vm: string): Entity {
    return this.temporal.workflow.getHandle<typeof protectVm>(protectedItemId(this.site.vault.name, vm));
  }

  private async ask<T>(vm: string, call: (entity: Entity) => Promise<T>): Promise<T> {
    this.siteVm(vm);
    try {
      return await this.answer(() => call(this.entity(vm)));
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw new RefusedError(error.cause?.message ?? error.message, { cause: error });
      if (error instanceof WorkflowNotFoundError) throw new RefusedError(`${vm}: the VM is not protected`, { cause: error });
      throw error;
    }
  }

  private async query<T>(id: string, what: string, call: () => Promise<T>): Promise<T> {
    try {
      return await this.answer(call);
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw new RefusedError(`there is no ${what} ${id}`, { cause: error });
      throw error;
    }
  }

  private async answer<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await this.connection.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, call);
    } catch (error) {
      if (isDeadline(error)) {
        throw new Error(
          `The Azure worker of vault ${this.site.vault.name} does not answer. It runs the workflows: start it (\`farshore worker --role azure\`, or \`farshore up\`).`,
          { cause: error },
        );
      }
      throw error;
    }
  }
}

/** 4 is gRPC's DEADLINE_EXCEEDED. */
function isDeadline(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as { code?: unknown }).code === 4) return true;
  }
  return false;
}
