/** A vault, a VMM server and a host on one time-skipping server: starts workflows, waits for states. */
import { workflowState } from '../../client/workflow-state.js';
import { viewOf, type ProtectedItemView } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { WorkflowHandle, WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { hostWatchId, protectedItemId, taskQueues } from '../../domain/ids.js';
import { policySchema, type Policy } from '../../domain/policy.js';
import type { Job } from '../../domain/job.js';
import type { protectVm, runRecoveryPlan } from '../../workflows/index.js';
import * as messages from '../../workflows/messages.js';
import type { SimulatedSite } from './simulated-site.js';

let bundle: Promise<{ code: string }> | undefined;

/** The workflows as they were built. */
export const workflowBundle = (): Promise<{ code: string }> =>
  (bundle ??= readFile(fileURLToPath(new URL('../../dist/workflow-bundle.js', import.meta.url)), 'utf8').then(
    (code) => ({ code }),
  ));

export class TestVault {
  readonly vault = `vault-${randomUUID().slice(0, 8)}`;
  private readonly started = new Set<string>();
  readonly host = `host-${this.vault}`;
  private readonly agents = new Map<string, { worker: Worker; stopped: Promise<void> }>();
  private readonly server = `vmm-${this.vault}`;

  constructor(
    private readonly env: TestWorkflowEnvironment,
    private readonly site: SimulatedSite,
    private readonly tuning?: messages.Tuning,
    private readonly policy: Policy = policySchema.parse({ name: 'test' }),
  ) {}

  /** Runs the workers of all three sides while `work` does its part. */
  async run(work: () => Promise<void>): Promise<void> {
    const common = { connection: this.env.nativeConnection, namespace: this.env.namespace ?? 'default' };
    const activities = this.site.activities();
    const workers = await Promise.all([
      Worker.create({
        ...common,
        taskQueue: taskQueues.azure(this.vault),
        activities,
        workflowBundle: await workflowBundle(),
      }),
      Worker.create({ ...common, taskQueue: taskQueues.vmm(this.server), activities }),
    ]);
    await this.startAgent();
    const [first, ...others] = workers;
    const running = others.map((worker) => worker.run());
    try {
      await first!.runUntil(work);
    } finally {
      for (const worker of others) worker.shutdown();
      await Promise.all([...running, ...[...this.agents.keys()].map((host) => this.stopAgent(host))]);
      await this.endEntities();
    }
  }

  /** The agent on a host; the one of the VMs' host runs already while `run` does. */
  async startAgent(host = this.host): Promise<void> {
    const worker = await Worker.create({
      connection: this.env.nativeConnection,
      namespace: this.env.namespace ?? 'default',
      taskQueue: taskQueues.host(host),
      activities: this.site.activities(),
    });
    this.agents.set(host, { worker, stopped: worker.run() });
    this.started.add(hostWatchId(this.vault, host));
  }

  async stopAgent(host = this.host): Promise<void> {
    const agent = this.agents.get(host);
    this.agents.delete(host);
    agent?.worker.shutdown();
    await agent?.stopped;
  }

  /** What is left running would keep the server from skipping time for whoever comes next. */
  private async endEntities(): Promise<void> {
    const ends = [...this.started].map((id) => this.env.client.workflow.getHandle(id).terminate('the test is over'));
    await Promise.allSettled(ends);
  }

  async startEntity(vm: string): Promise<WorkflowHandleWithFirstExecutionRunId<typeof protectVm>> {
    this.started.add(protectedItemId(this.vault, vm)).add(hostWatchId(this.vault, this.host));
    return this.env.client.workflow.start<typeof protectVm>('protectVm', {
      workflowId: protectedItemId(this.vault, vm),
      taskQueue: taskQueues.azure(this.vault),
      args: [
        {
          vault: this.vault,
          vm,
          host: this.host,
          vmmServer: this.server,
          policy: this.policy,
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
      await this.env.sleep(stepMs);
    }
    const last = await this.shown(entity);
    throw new Error(`the entity did not get there: ${JSON.stringify(last, null, 1)}`);
  }

  /** Lets workflow time pass, a few minutes at a time: the test server is slow to jump far when nothing is due. */
  async pass(minutes: number): Promise<void> {
    for (let passed = 0; passed < minutes; passed += 5) await this.env.sleep(Math.min(5, minutes - passed) * 60_000);
  }

  async startPlan(
    name: string,
    groups: { name: string; vms: string[] }[],
  ): Promise<WorkflowHandle<typeof runRecoveryPlan>> {
    return this.env.client.workflow.start<typeof runRecoveryPlan>('runRecoveryPlan', {
      workflowId: `plan/${this.vault}/${name}`,
      taskQueue: taskQueues.azure(this.vault),
      args: [
        { vault: this.vault, type: 'planned', plan: { name, groups }, ...(this.tuning && { tuning: this.tuning }) },
      ],
    });
  }
}
