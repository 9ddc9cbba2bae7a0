import { MockActivityEnvironment } from '@temporalio/testing';
import { describe, expect, it } from 'vitest';
import { hostWatchId, jobId, protectedItemId } from '../../domain/ids.js';
import { ownWorkOnly } from '../../workers/own-work.js';

const at = '2026-03-01T12:30:05.123Z';
const askedBy = async (workflowId: string): Promise<string> => {
  const worker = new MockActivityEnvironment(
    { workflowExecution: { workflowId, runId: 'r' } },
    { interceptors: [ownWorkOnly('v-1')] },
  );
  return await worker.run(() => Promise.resolve('done'));
};

describe('a worker of one vault', () => {
  it.each([
    protectedItemId('v-1', 'db-01'),
    jobId('v-1', 'db-01', 'plannedFailover', at, 0),
    hostWatchId('v-1', 'hv-01'),
    // Ids of jobs that began before they said their vault.
    'job/db-01/planned-failover/20260301T123005Z',
  ])('does what %s asks', async (id) => {
    expect(await askedBy(id)).toBe('done');
  });

  it.each([
    protectedItemId('v-2', 'db-01'),
    jobId('v-2', 'db-01', 'plannedFailover', at, 0),
    hostWatchId('v-2', 'hv-01'),
  ])('refuses what %s asks', async (id) => {
    await expect(askedBy(id)).rejects.toMatchObject({
      type: 'ForeignVault',
      message: `${id} belongs to vault v-2, but this worker belongs to vault v-1`,
    });
  });
});
