/** Every line that belongs to a VM's work says so, whoever writes it. */
import { ApplicationFailure } from '@temporalio/common';
import { log } from '@temporalio/activity';
import { MockActivityEnvironment } from '@temporalio/testing';
import { expect, test } from 'vitest';
import { jobId } from '../../domain/ids.js';
import { workerLogger } from '../../workers/logger.js';
import { workInterceptor } from '../../workers/work-interceptor.js';

const job = jobId('v', 'db-01', 'resynchronize', '2026-03-01T12:30:05.123Z', 0);

/** A worker's logger, and the lines that it has written. */
function logged(...of: Parameters<typeof workerLogger>) {
  const lines: Record<string, unknown>[] = [];
  const [role, name, work] = of;
  const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>);
  return { lines, logger: workerLogger(role, name, work, { write }) };
}

const work = { vault: 'v', host: 'hv-01' };

function environment(workflowId: string, logger: ReturnType<typeof workerLogger>) {
  const workflowExecution = { workflowId, runId: 'r' };
  return new MockActivityEnvironment({ workflowExecution }, { interceptors: [workInterceptor(work)], logger });
}

test("of an activity: its own lines, and the SDK's lines about its failure", async () => {
  const { lines, logger } = logged('host', 'hv-01', work);
  const activity = async (_input: object): Promise<void> => {
    log.info('half of it is done', { bytesDone: 5n });
    throw ApplicationFailure.nonRetryable('no');
  };
  const input = { vm: 'db-01', epoch: 4, sequence: 9 };
  await expect(environment(job, logger).run(activity, input)).rejects.toThrow('no');
  const fields = { vault: 'v', host: 'hv-01', vm: 'db-01', job, epoch: 4, sequence: 9, role: 'host', name: 'hv-01' };
  expect(lines.map(({ msg }) => msg)).toEqual(['half of it is done', 'Activity failed']);
  for (const line of lines) expect(line).toMatchObject(fields);
  expect(lines[0]).toMatchObject({ bytesDone: '5' });
});

test('of an entity contain no job', async () => {
  const { lines, logger } = logged('host', 'hv-01', work);
  const activity = async (_input: object): Promise<void> => log.info('done');
  await environment('vm/v/db-01', logger).run(activity, { vm: 'db-01', epoch: 1 });
  expect(lines[0]).toMatchObject({ vault: 'v', vm: 'db-01', epoch: 1 });
  expect(lines[0]).not.toHaveProperty('job');
  expect(lines[0]).not.toHaveProperty('sequence');
});

test("of the SDK, if a line names a workflow; the line's own fields take precedence", () => {
  const { lines, logger } = logged('azure', 'v', { vault: 'v' });
  logger.warn('a', { workflowId: job });
  logger.warn('b', { workflow_id: 'vm/v/web-01' });
  logger.warn('c', { workflowId: job, vm: 'said' });
  logger.warn('d');
  expect(lines.map(({ vault, vm, job: of }) => [vault, vm, of])).toEqual([
    ['v', 'db-01', job],
    ['v', 'web-01', undefined],
    ['v', 'said', job],
    ['v', undefined, undefined],
  ]);
});
