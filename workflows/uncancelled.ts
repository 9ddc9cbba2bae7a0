/**
 * The Web UI's "Request Cancellation" does nothing to entities and host watches: it is one click away, and would stop half
 * of what is under way. Protection is ended by its own job alone. Handlers are called outside of what the workflow itself
 * runs in: what they wait for needs it as well. Wrap just that; a whole handler would answer later than histories say.
 */
import { CancellationScope } from '@temporalio/workflow';

export const uncancelled = <T>(work: () => Promise<T>): Promise<T> => CancellationScope.nonCancellable(work);
