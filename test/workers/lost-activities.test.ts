/** What a dead worker was doing is told to a real server, and what a living one does is left alone. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Connection } from '@temporalio/client';
import { defaultPayloadConverter, type DataConverter } from '@temporalio/common';
import { expect, test } from 'vitest';
import { clientDataConverter } from '../../temporal/encryption/data-converter.js';
import { KeyRing } from '../../temporal/encryption/key-ring.js';
import { RunningActivities } from '../../workers/lost-activities.js';
import { startTestDevServer } from '../support/dev-server.js';
import { newKey, writeKeyFile } from '../support/key-files.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const namespace = 'farshore';
const queue = { name: 'q' };

test.each(['without keys', 'with keys'])(
  'of a dead process, with how far it had come; not of a living one: %s',
  async (site) => {
    const folder = await temporaryFolder();
    const converter = site === 'with keys' ? await converterWithKeys() : {};
    const server = await startTestDevServer();
    const connection = await Connection.connect({ address: server.address });
    const { workflowService } = connection;
    const polled = <T>(poll: () => Promise<T>) => connection.withDeadline(Date.now() + 30_000, poll);
    /** Starts a workflow with an activity that has begun and sent a heartbeat. @returns the note its worker has of it. */
    const beginActivity = async (workflowId: string) => {
      await workflowService.startWorkflowExecution({
        ...{ namespace, workflowId, requestId: workflowId, workflowType: { name: 'any' }, taskQueue: queue },
      });
      const task = await polled(() => workflowService.pollWorkflowTaskQueue({ namespace, taskQueue: queue }));
      const attributes = {
        ...{ activityId: '1', activityType: { name: 'copy' }, taskQueue: queue },
        ...{ startToCloseTimeout: { seconds: 3600 as never }, scheduleToCloseTimeout: { seconds: 3600 as never } },
        retryPolicy: { maximumAttempts: 1 },
      };
      await workflowService.respondWorkflowTaskCompleted({
        ...{ namespace, taskToken: task.taskToken },
        commands: [{ commandType: 1, scheduleActivityTaskCommandAttributes: attributes }],
      });
      const { taskToken, workflowExecution } = await polled(() =>
        workflowService.pollActivityTaskQueue({ namespace, taskQueue: queue }),
      );
      const payloads = await encoded(converter, { bytesDone: 42 });
      const details = { payloads };
      await workflowService.recordActivityTaskHeartbeat({ namespace, taskToken, details });
      const { runId } = workflowExecution!;
      return { taskToken: Buffer.from(taskToken).toString('base64'), workflowId, runId, activityId: '1' };
    };
    const pendingOf = async (workflowId: string) =>
      (await workflowService.describeWorkflowExecution({ namespace, execution: { workflowId } })).pendingActivities
        ?.length;
    try {
      const died = await beginActivity('of-the-dead');
      const lives = await beginActivity('of-the-living');
      const dead = path.join(folder, '1-1');
      await mkdir(dead);
      await writeFile(path.join(dead, 'lock'), '');
      await writeFile(path.join(dead, '1-1-1'), JSON.stringify(died));
      await writeFile(path.join(dead, '2-1-1'), JSON.stringify(died).slice(0, 30));
      const living = await RunningActivities.open(folder);
      const [own] = (await readdir(folder)).filter((name) => name !== '1-1');
      await writeFile(path.join(folder, own!, '1-1-1'), JSON.stringify(lives));

      const next = await RunningActivities.open(folder);
      expect(await next.reportLost({ address: server.address }, namespace, converter)).toEqual(['of-the-dead']);
      expect(await next.reportLost({ address: server.address }, namespace, converter)).toEqual([]);
      expect(await pendingOf('of-the-living')).toBe(1);
      expect(await pendingOf('of-the-dead')).toBe(0);
      const { history } = await workflowService.getWorkflowExecutionHistory({
        namespace,
        execution: { workflowId: 'of-the-dead' },
      });
      const failure = history?.events?.flatMap(
        ({ activityTaskFailedEventAttributes: failed }) => failed?.failure ?? [],
      )[0];
      expect(failure?.applicationFailureInfo?.type).toBe('WorkerLost');
      const details = failure?.applicationFailureInfo?.details?.payloads ?? [];
      const encoding = Buffer.from(details[0]!.metadata!['encoding']!).toString();
      expect(encoding).toBe(site === 'with keys' ? 'binary/encrypted' : 'json/plain');
      const decoded = (await converter.payloadCodecs?.[0]?.decode(details)) ?? details;
      expect(decoded.map((payload) => defaultPayloadConverter.fromPayload(payload))).toEqual([{ bytesDone: 42 }]);
      await living.close();
      await next.close();
      expect(await readdir(folder)).toEqual([]);
    } finally {
      await connection.close();
      await server.stop();
    }
  },
);

async function converterWithKeys(): Promise<DataConverter> {
  const file = path.join(await temporaryFolder(), 'keys.yaml');
  await writeKeyFile(file, 'a', { a: newKey() });
  return clientDataConverter(await KeyRing.open(file));
}

async function encoded({ payloadCodecs = [] }: DataConverter, value: unknown) {
  const payloads = [defaultPayloadConverter.toPayload(value)!];
  return (await payloadCodecs[0]?.encode(payloads)) ?? payloads;
}
