import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Context } from '@temporalio/activity';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { classified } from '../../activities/failures.js';
import type { TargetActivities } from '../../activities/target.js';
import { resyncOpening } from './simulated-site.js';

/** By vault: what its site does of what is local to workflows. */
const sites = new Map<string, Pick<TargetActivities, 'applyCycle'>>();
export const registerSite = (vault: string, site: Pick<TargetActivities, 'applyCycle'>): void =>
  void sites.set(vault, site);

/** Of the vault whose VM asks: `vm/<vault>/<vm>`. */
const applyCycle: TargetActivities['applyCycle'] = async (input) =>
  await sites.get(Context.current().info.workflowExecution!.workflowId.split('/')[1]!)!.applyCycle(input);

let bundle: Promise<{ code: string }> | undefined;

/** The workflows as they were built. */
export const workflowBundle = (): Promise<{ code: string }> =>
  (bundle ??= readFile(fileURLToPath(new URL('../../dist/workflow-bundle.js', import.meta.url)), 'utf8').then(
    (code) => ({ code }),
  ));

/**
 * Runs workflows, and of the activities those that are local to them: the others go to the queues of the vaults. One serves
 * many vaults, as loading the workflows takes longer than most tests do.
 */
export class WorkflowWorker {
  private constructor(
    readonly taskQueue: string,
    private readonly worker: Worker,
    private readonly stopped: Promise<void>,
  ) {}

  /** @param bundle of other workflows than those that were built. */
  static async start(env: TestWorkflowEnvironment, bundle?: { code: string }): Promise<WorkflowWorker> {
    const taskQueue = `workflows-${randomUUID().slice(0, 8)}`;
    const worker = await Worker.create({
      connection: env.nativeConnection,
      namespace: env.namespace ?? 'default',
      taskQueue,
      workflowBundle: bundle ?? (await workflowBundle()),
      activities: { ...classified({ resyncOpening }), applyCycle },
    });
    return new WorkflowWorker(taskQueue, worker, worker.run());
  }

  async stop(): Promise<void> {
    this.worker.shutdown();
    await this.stopped;
  }
}
