/** When a Provider is said not to answer: by its polls, as the server would show them, and by jobs that ended for it. */
import type { Client } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { expect, test } from 'vitest';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { toFailure } from '../../domain/errors.js';
import { toIso } from '../../domain/time.js';
import { silentProviders } from '../../temporal/silent-providers.js';
import { newItem } from '../domain/random-life.js';

const SECOND = 1_000;
const ago = (seconds: number) => Date.now() - seconds * SECOND;
const item: ProtectedItem = { ...newItem(), phase: 'Protected' };
const failed = (secondsAgo: number): ProtectedItem => ({
  ...item,
  recentJobs: [
    {
      id: 'job/v/db-01/planned-failover/1',
      kind: 'plannedFailover',
      outcome: 'failed',
      endedAt: toIso(ago(secondsAgo)),
      failure: toFailure('ProviderNotAnswering'),
    },
  ],
});

function server(polledSecondsAgo: number | undefined): Client {
  const pollers =
    polledSecondsAgo === undefined ? [] : [{ identity: 'vmm', lastAccessTime: msToTs(ago(polledSecondsAgo)) }];
  return {
    options: { namespace: 'n' },
    withDeadline: (_: number, call: () => Promise<unknown>) => call(),
    workflowService: { describeTaskQueue: () => Promise.resolve({ pollers }) },
  } as unknown as Client;
}

test.each<[string, number | undefined, ProtectedItem, boolean]>([
  ['that has polled just now answers', 5, item, false],
  ['whose last poll is longer ago than a poll lasts does not', 100, item, true],
  ['that nobody remembers does not', undefined, item, true],
  ['for which a job has ended since its last poll does not', 40, failed(20), true],
  ['that has polled since then does', 10, failed(20), false],
  ['that no VM needs any more is not asked for', 100, { ...item, phase: 'Committed', activeSide: 'recovery' }, false],
])('a Provider %s', async (_what, polled, of, silent) => {
  const found = await silentProviders(server(polled), 'v', new Map([[of.vm, of]]));
  expect(found.map(({ vmmServer }) => vmmServer)).toEqual(silent ? [of.vmmServer] : []);
});
