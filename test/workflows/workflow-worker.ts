import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { classified } from '../../activities/failures.js';
import { resyncOpening } from './simulated-site.js';

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
      activities: classified({ resyncOpening }),
    });
    return new WorkflowWorker(taskQueue, worker, worker.run());
  }

  async stop(): Promise<void> {
    this.worker.shutdown();
    await this.stopped;
  }
}
