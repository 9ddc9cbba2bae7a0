/** What an error of the Temporal client says about who did not answer. */

const GrpcStatus = { DEADLINE_EXCEEDED: 4, FAILED_PRECONDITION: 9, UNAVAILABLE: 14 } as const;

/** Temporal itself is away. */
export const isServerAway = (error: unknown): boolean => hasStatus(error, GrpcStatus.UNAVAILABLE);

/** No worker ran the workflow in time; after some minutes without one the server says so immediately. */
export const isWorkerAway = (error: unknown): boolean =>
  hasStatus(error, GrpcStatus.DEADLINE_EXCEEDED) ||
  (hasStatus(error, GrpcStatus.FAILED_PRECONDITION) && messagesOf(error).some((message) => message.includes('poller')));

/**
 * The workflow was asked while it completed a task that the server did not take, as when it continues as new and a message
 * arrives: it has not heard the question.
 */
export const isNotHeard = (error: unknown): boolean =>
  hasStatus(error, GrpcStatus.FAILED_PRECONDITION) &&
  messagesOf(error).some((message) => message.includes('workflow task failure'));

const hasStatus = (error: unknown, status: number): boolean =>
  chainOf(error).some((cause) => (cause as { code?: unknown }).code === status);

const messagesOf = (error: unknown): string[] => chainOf(error).map(({ message }) => message);

function chainOf(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause) chain.push(cause);
  return chain;
}
