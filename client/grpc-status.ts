/** Tells from an error of the Temporal client who did not answer. */

const GrpcStatus = { DEADLINE_EXCEEDED: 4, FAILED_PRECONDITION: 9, UNAVAILABLE: 14 } as const;

/** Temporal itself does not answer. */
export const isServerAway = (error: unknown): boolean => hasStatus(error, GrpcStatus.UNAVAILABLE);

/** No worker ran the workflow in time; after some minutes without one the server says so immediately. */
export const isWorkerAway = (error: unknown): boolean =>
  hasStatus(error, GrpcStatus.DEADLINE_EXCEEDED) ||
  (hasStatus(error, GrpcStatus.FAILED_PRECONDITION) && messagesOf(error).some((message) => message.includes('poller')));

/**
 * The request arrived while the workflow completed a task that the server rejected, for example because a message
 * arrived while it continued as new. So the workflow did not receive the request.
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
