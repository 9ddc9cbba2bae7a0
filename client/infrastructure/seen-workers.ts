/** Task queues that workers poll, according to the Temporal server. */
import { toIso } from '../../domain/time.js';
import { ACTIVITIES, pollersOf } from '../../temporal/pollers.js';
import type { Farshore } from '../farshore.js';

const ANSWER_TIMEOUT_MS = 10_000;

/** @returns when a worker last polled each queue, ISO 8601; queues without a recent poll are left out. */
export async function seenWorkers(
  { temporal, namespace }: Farshore,
  queues: readonly string[],
): Promise<Map<string, string>> {
  const seen = new Map<string, string>();
  await temporal.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () =>
    Promise.all(
      queues.map(async (name) => {
        const pollers = await pollersOf(temporal.workflowService, namespace, name, ACTIVITIES);
        if (pollers.length > 0) seen.set(name, toIso(Math.max(...pollers.map(({ at }) => at))));
      }),
    ),
  );
  return seen;
}
