/** A vault, a VMM server and a host on one time-skipping server: starts workflows, waits for states. */
import { workflowState } from '../../client/workflow-state.js';
import { viewOf, type ProtectedItemView } from '../../domain/item-view.js';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { randomUUID } from 'node:crypto';
import type { WorkflowHandle, WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { hostWatchId, protectedItemId, taskQueues } from '../../domain/ids.js';
import { policySchema, type Policy } from '../../domain/policy.js';
import type { Job } from '../../domain/job.js';
import type { PlanRun } from '../../domain/plan-run.js';
import type { protectVm, runRecoveryPlan } from '../../workflows/index.js';
import * as messages from '../../workflows/messages.js';
import { farWindow } from '../support/far-window.js';
import { takeLockOff } from '../support/left-locks.js';
import { HEARTBEAT_MS, type SimulatedSite } from './simulated-site.js';
import { onStuckServer } from './stuck-server.js';
import { registerSite, WorkflowWorker } from './workflow-worker.js';

/** A server that does not end workflows within this, ms, is not asked for anything more. */
const ENDED_WITHIN_MS = 20_000;

/** No task holds the time for so long, ms: it would be begun again before. */
const LEFT_LOCK_MS = 25_000;

export class TestVault {
  readonly vault = `vault-${randomUUID().slice(0, 8)}`;
  private readonly started = new Set<string>();
  readonly host = `host-${this.vault}`;
  private readonly agents = new Map<string, { worker: Worker; stopped: Promise<void> }>();
  private readonly server = `vmm-${this.vault}`;
  private readonly vms = new Set<string>();
  private giveUp: (reason: Error) => void = () => {};
  private running: Promise<unknown> = Promise.resolve();

  /** @param workflows what runs its workflows. @default one of its own */
  constructor(
    private readonly env: TestWorkflowEnvironment,
    private readonly site: SimulatedSite,
    private readonly tuning?: messages.Tuning,
    private readonly policy: Policy = policySchema.parse({ name: 'test', resynchronizationWindow: farWindow() }),
    private workflows?: WorkflowWorker,
  ) {}

  /**
   * Runs the workers of all three sides while `work` does its part.
   * @throws what `work` throws; when the test server is stuck, or after `abandon`, at once.
   */
  async run(work: () => Promise<void>): Promise<void> {
    const givenUp = new Promise<never>((_, reject) => (this.giveUp = reject));
    // It may be before, or after, anybody awaits it.
    givenUp.catch(() => {});
    const unwatch = onStuckServer(this.env, this.giveUp);
    const running = this.runWorkersWhile(() => Promise.race([work(), givenUp])).finally(unwatch);
    this.running = Promise.allSettled([running]);
    await running;
  }

  /** For a test that has timed out: stops its workers before their server stops. */
  async abandon(): Promise<void> {
    this.giveUp(new Error('the test is over'));
    await this.running;
  }

  private async runWorkersWhile(work: () => Promise<void>): Promise<void> {
    const shared = this.workflows;
    this.workflows ??= await WorkflowWorker.start(this.env);
    registerSite(this.vault, this.site.activities());
    const [first, second] = await Promise.all([
      this.activityWorker(taskQueues.azure(this.vault)),
      this.activityWorker(taskQueues.vmm(this.vault, this.server)),
    ]);
    await this.startAgent();
    const running = second.run();
    try {
      await first.runUntil(work);
    } finally {
      second.shutdown();
      const agents = [...this.agents.keys()].map((host) => this.stopAgent(host));
      await Promise.all([running, ...agents]);
      await this.endWorkflows();
      if (!shared) await this.workflows.stop();
      this.workflows = shared;
    }
  }

  private activityWorker(taskQueue: string): Promise<Worker> {
    return Worker.create({
      connection: this.env.nativeConnection,
      namespace: this.env.namespace ?? 'default',
      taskQueue,
      activities: this.site.activities(),
      // What is held hears by its heartbeats that it is cancelled.
      maxHeartbeatThrottleInterval: HEARTBEAT_MS,
    });
  }

  /** The agent on a host; the one of the VMs' host runs already while `run` does. */
  async startAgent(host = this.host): Promise<void> {
    const worker = await this.activityWorker(taskQueues.host(this.vault, host));
    this.agents.set(host, { worker, stopped: worker.run() });
    this.started.add(hostWatchId(this.vault, host));
  }

  get workflowQueue(): string {
    if (!this.workflows) throw new Error(`${this.vault} is not running`);
    return this.workflows.taskQueue;
  }

  async stopAgent(host = this.host): Promise<void> {
    const agent = this.agents.get(host);
    this.agents.delete(host);
    agent?.worker.shutdown();
    await agent?.stopped;
  }

  /** What is left running would keep the server from skipping time for whoever comes next. */
  private async endWorkflows(): Promise<void> {
    await this.env.connection.withDeadline(Date.now() + ENDED_WITHIN_MS, () => this.terminateAll());
  }

  private async terminateAll(): Promise<void> {
    const jobs = [...this.vms].map((vm) => this.view(vm).then(({ item }) => [item.job?.jobId, item.drill?.job?.jobId]));
    const found = (await Promise.allSettled(jobs)).flatMap((job) => (job.status === 'fulfilled' ? job.value : []));
    const ids = [...this.started, ...found.filter((id) => id !== undefined)];
    await Promise.allSettled(ids.map((id) => this.env.client.workflow.getHandle(id).terminate('the test is over')));
  }

  /** @param carried what an earlier run of it left: it goes on from there. @default it begins */
  async startEntity(
    vm: string,
    carried?: Partial<ProtectedItem>,
  ): Promise<WorkflowHandleWithFirstExecutionRunId<typeof protectVm>> {
    const of = { vault: this.vault, vm, host: this.host, vmmServer: this.server, policy: this.policy };
    this.vms.add(vm);
    this.started.add(protectedItemId(this.vault, vm)).add(hostWatchId(this.vault, this.host));
    return this.env.client.workflow.start<typeof protectVm>('protectVm', {
      workflowId: protectedItemId(this.vault, vm),
      taskQueue: this.workflowQueue,
      args: [
        {
          ...of,
          ...(carried && { item: { ...newProtectedItem(of), ...carried } }),
          ...(this.tuning && { tuning: this.tuning }),
        },
      ],
    });
  }

  /** Starts the entity of a VM and waits until it is protected. */
  async protect(vm: string, pollMs?: number): Promise<WorkflowHandleWithFirstExecutionRunId<typeof protectVm>> {
    const entity = await this.startEntity(vm);
    await entity.executeUpdate(messages.jobUpdates.enableProtection, { args: [{ requestId: randomUUID() }] });
    await this.until(entity, (view) => view.item.phase === 'Protected', pollMs);
    return entity;
  }

  /** The entity, whichever run of it is alive. */
  entity(vm: string): WorkflowHandle<typeof protectVm> {
    return this.env.client.workflow.getHandle<typeof protectVm>(protectedItemId(this.vault, vm));
  }

  /** As the command does it; what can be undone is undone. */
  async cancelJob(jobId: string): Promise<void> {
    await this.env.client.workflow.getHandle(jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
  }

  async view(vm: string): Promise<ProtectedItemView> {
    return this.shown(this.entity(vm));
  }

  /**
   * What the entity has left with the server, as the command shows it. No query: one that comes just as a task ends
   * leaves the worker without an answer.
   */
  async shown({ workflowId }: { readonly workflowId: string }): Promise<ProtectedItemView> {
    const { state } = await workflowState<ProtectedItem>(this.env.client, workflowId, 'protectedItem');
    return viewOf(state!, new Date(await this.env.currentTimeMs()).toISOString());
  }

  async job(id: string): Promise<Job> {
    return (await workflowState<Job>(this.env.client, id, 'job')).state!;
  }

  /** Lets workflow time pass until the entity is in a state. The bound is in polls, not in time. */
  async until(
    entity: WorkflowHandle<typeof protectVm>,
    reached: (view: ProtectedItemView) => boolean,
    stepMs = 1_000,
    look: (view: ProtectedItemView) => Promise<void> = () => Promise.resolve(),
  ): Promise<ProtectedItemView> {
    for (let poll = 0; poll < 400; poll += 1) {
      const view = await this.shown(entity);
      await look(view);
      if (reached(view)) return view;
      await this.sleep(stepMs);
    }
    const last = await this.shown(entity);
    throw new Error(`the entity did not get there: ${JSON.stringify(last, null, 1)}`);
  }

  /** Lets workflow time pass, a few minutes at a time: the test server is slow to jump far when nothing is due. */
  async pass(minutes: number): Promise<void> {
    for (let passed = 0; passed < minutes; passed += 5) await this.sleep(Math.min(5, minutes - passed) * 60_000);
  }

  /** A lock that a run has left on the time, as it continued as new, would keep it for ever: it is taken off. */
  private async sleep(ms: number): Promise<void> {
    const unlocking = setInterval(() => void takeLockOff(this.env), LEFT_LOCK_MS);
    await this.env.sleep(ms).finally(() => clearInterval(unlocking));
  }

  /** @param carried a run as it begins, of other steps than those of a planned failover. */
  async startPlan(
    name: string,
    groups: { name: string; vms: string[] }[],
    carried?: (id: string) => PlanRun,
  ): Promise<WorkflowHandle<typeof runRecoveryPlan>> {
    const workflowId = `plan/${this.vault}/${name}`;
    this.started.add(workflowId);
    return this.env.client.workflow.start<typeof runRecoveryPlan>('runRecoveryPlan', {
      workflowId,
      taskQueue: this.workflowQueue,
      args: [
        {
          ...{ vault: this.vault, type: 'planned', plan: { name, groups } },
          ...(carried && { carried: carried(workflowId) }),
          ...(this.tuning && { tuning: this.tuning }),
        },
      ],
    });
  }
}
