/** Errors that are answers, not bugs: their message is complete and meant for the caller. */

/** The state of the VM or plan does not allow the request; nothing was changed. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
}

/** Temporal, a worker, or the instance does not answer. Jobs that were started continue. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** A job or plan run with --wait did not succeed, or waits for an operator. */
export class JobFailedError extends Error {
  override readonly name = 'JobFailedError';
}

/** The instance that was started in the background failed to start, and has said why. */
export class DetachedStartError extends Error {
  override readonly name = 'DetachedStartError';
  constructor(
    message: string,
    /** Exit code of its process; null if a signal ended it. */
    readonly exitCode: number | null,
  ) {
    super(message);
  }
}
