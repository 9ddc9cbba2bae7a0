/** Errors that are answers, not bugs: their message is complete and meant for the person who asked. */

/** The state of the VM, or of the plan, does not allow what was asked; nothing was changed. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
}

/** Temporal, a worker, or the instance does not answer. What was started before goes on. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}
