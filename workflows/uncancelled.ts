/**
 * Shields the work of entities and host watches from the Web UI's "Request Cancellation", which is one click away and
 * would stop half of the running work. Only its own job ends a protection. Handlers run outside the workflow's main
 * scope, so the work they await needs shielding as well. Wrap only that work: a wrapped handler would answer later than
 * in the stored histories.
 */
import { CancellationScope } from '@temporalio/workflow';

export const uncancelled = <T>(work: () => Promise<T>): Promise<T> => CancellationScope.nonCancellable(work);
