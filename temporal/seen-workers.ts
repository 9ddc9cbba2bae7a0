/** Task queues that workers poll, according to the Temporal server. */
import type { Client } from '@temporalio/client';
import { toIso } from '../domain/time.js';
import { ACTIVITIES, pollersOf } from './pollers.js';

const ANSWER_TIMEOUT_MS = 10_000;

/** @returns when a worker last polled each queue, ISO 8601; queues without a recent poll are left out. */
export async function seenWorkers(temporal: Client, queues: readonly string[]): Promise<Map<string, string>> {
  const seen = new Map<string, string>();
  await temporal.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () =>
    Promise.all(
      queues.map(async (name) => {
        const pollers = await pollersOf(temporal.workflowService, temporal.options.namespace, name, ACTIVITIES);
        if (pollers.length > 0) seen.set(name, toIso(Math.max(...pollers.map(({ at }) => at))));
      }),
    ),
  );
  return seen;
}
