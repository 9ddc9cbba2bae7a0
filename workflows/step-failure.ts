/** Reads a failed activity: which entry of the error catalogue it is, and how far the step had come. */
import { ActivityFailure, ApplicationFailure, TimeoutFailure, TimeoutType } from '@temporalio/common';
import {
  failureCatalogue,
  failureCodeSchema,
  toFailure,
  unexpectedFailure,
  type Failure,
  type FailureCode,
} from '../domain/errors.js';

/** Where a step runs: decides what a silent worker is called. */
export type Side = 'agent' | 'provider' | 'azure';

const notAnswering: Record<Side, FailureCode> = {
  agent: 'AgentNotAnswering',
  provider: 'ProviderNotAnswering',
  azure: 'RecoverySideNotAnswering',
};

/** Its worker lives, as its heartbeats say. */
const HANGS = 'The work was not done within its time limit: what it waits for may hang';

/** A step failed in a way that its own repetition cannot mend. */
export class StepFailure extends Error {
  override readonly name = 'StepFailure';
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

const sides = new WeakMap<object, Side>();

/** Remembers on which side a call failed. */
export function atSide<E>(error: E, side: Side): E {
  if (typeof error === 'object' && error !== null) sides.set(error, side);
  return error;
}

export function failureOf(error: unknown): Failure {
  if (error instanceof StepFailure) return error.failure;
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) {
    const code =
      cause.timeoutType === TimeoutType.SCHEDULE_TO_START
        ? notAnswering[sides.get(error as object) ?? 'azure']
        : 'WorkerLost';
    const hangs = cause.timeoutType === TimeoutType.START_TO_CLOSE;
    return toFailure(code, hangs ? HANGS : failureCatalogue[code].message);
  }
  if (cause instanceof ApplicationFailure) {
    const code = failureCodeSchema.safeParse(cause.type);
    if (code.success) return toFailure(code.data, cause.message);
    return unexpectedFailure(cause.message);
  }
  return unexpectedFailure(error instanceof Error ? error.message : String(error));
}

/** Bytes done, as the failure or the last heartbeat tells; may be older than the truth. */
export function checkpointOf(error: unknown): number | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const details: unknown =
    cause instanceof TimeoutFailure
      ? cause.lastHeartbeatDetails
      : cause instanceof ApplicationFailure
        ? cause.details?.[0]
        : undefined;
  const bytesDone = (details as { bytesDone?: unknown } | undefined)?.bytesDone;
  return typeof bytesDone === 'number' ? bytesDone : undefined;
}
