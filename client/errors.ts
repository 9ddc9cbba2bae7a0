/** Errors that are answers, not bugs: their message is complete and meant for the person who asked. */

/** The state of the VM, or of the plan, does not allow what was asked; nothing was changed. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
}

/** Temporal, a worker, or the instance does not answer. Jobs that were started continue. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** A job or a plan run that was waited for did not end well, or stands still until an administrator acts. */
export class JobFailedError extends Error {
  override readonly name = 'JobFailedError';
}

/** The instance that was started in the background did not come up, and has said why. */
export class DetachedStartError extends Error {
  override readonly name = 'DetachedStartError';
  constructor(
    message: string,
    /** Of its process; null when a signal ended it. */
    readonly exitCode: number | null,
  ) {
    super(message);
  }
}
