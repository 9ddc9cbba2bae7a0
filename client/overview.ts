/** Everything that runs in a vault, for commands that wait for the answer. */
import { runningOverview, type Overview } from '../temporal/running-overview.js';
import { UnreachableError } from './errors.js';
import type { Farshore } from './farshore.js';
import { isServerAway, isWorkerAway } from './grpc-status.js';

export type { Overview };

/** Someone who watches should learn soon that there is no answer, ms. */
const ANSWER_TIMEOUT_MS = 5_000;

/** @throws UnreachableError */
export async function overviewOf({ temporal, site }: Farshore): Promise<Overview> {
  try {
    return await temporal.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () =>
      runningOverview(temporal, site.vault.name),
    );
  } catch (error) {
    if (!isServerAway(error) && !isWorkerAway(error)) throw error;
    throw new UnreachableError('Temporal does not answer', { cause: error });
  }
}
