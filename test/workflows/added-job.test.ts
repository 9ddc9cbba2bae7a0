/** A kind of job is one definition and one workflow: nothing else has to know of it. */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { expect, it } from 'vitest';
import * as messages from '../../workflows/messages.js';
// As whoever shows a VM loads it.
import './added-job.js';
import { skippedTime } from './skipped-time.js';
import { WorkflowWorker } from './workflow-worker.js';

const time = skippedTime();
const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url));

it(
  'a job added in one file is requested, offered, run, shown and removed like the others',
  { timeout: 180_000 },
  async () => {
    const bundle = await bundleWorkflowCode({
      workflowsPath: pathOf('./added-job.ts'),
      workflowInterceptorModules: [pathOf('../../workflows/work-log.ts'), pathOf('../../workflows/history-looks.ts')],
      logger: new DefaultLogger('ERROR'),
      webpackConfigHook: (config) => ({
        ...config,
        resolve: { ...config.resolve, extensionAlias: { '.js': ['.ts', '.js'] } },
      }),
    });
    const worker = await WorkflowWorker.start(time.env, bundle);
    try {
      const { vault } = time.setUp(undefined, undefined, worker);
      await vault.run(async () => {
        const entity = await vault.protect('db-01');
        const ask = () =>
          entity.executeUpdate(messages.jobUpdate('countDisks'), { args: [{ requestId: randomUUID() }] });
        const offered = async () => (await vault.view('db-01')).operations as Record<string, unknown>;
        await vault.until(entity, ({ item }) => item.applied !== undefined && item.job === undefined);
        expect((await offered())['countDisks']).toEqual({ allowed: true });
        const { jobId } = await ask();
        await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId);
        expect(await vault.job(jobId)).toMatchObject({
          kind: 'countDisks',
          state: 'Succeeded',
          tasks: [{ name: 'Counting the disks', state: 'Succeeded' }],
          result: { disks: 2 },
        });
        await entity.executeUpdate(messages.jobUpdates.disableProtection, { args: [{ requestId: randomUUID() }] });
        await expect(ask()).rejects.toThrow();
      });
    } finally {
      await worker.stop();
    }
  },
);
