/** Interprets a failed activity: its entry in the error catalogue, where it failed, and how far the step had come. */
import { ActivityFailure, ApplicationFailure, TimeoutFailure, TimeoutType } from '@temporalio/common';
import {
  failureCodeSchema,
  failureDetailsSchema,
  toFailure,
  unexpectedFailure,
  type Failure,
  type FailureCode,
  type FailureDetails,
  type Side,
} from '../domain/errors.js';
import { sideOfActivity } from './activity-table.js';

const notAnswering: Record<Side, FailureCode> = {
  source: 'AgentNotAnswering',
  sourceFabric: 'ProviderNotAnswering',
  target: 'RecoverySideNotAnswering',
};

/** Heartbeats show that the worker lives. */
const HANGS = 'The work did not finish within its time limit: something it waits for may hang';

/** A step failed, and repeating it cannot help. */
export class StepFailure extends Error {
  override readonly name = 'StepFailure';
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

export function failureOf(error: unknown): Failure {
  if (error instanceof StepFailure) return error.failure;
  const side = error instanceof ActivityFailure ? sideOfActivity(error.activityType) : undefined;
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const { detail, bytesDone } = detailsOf(cause);
  const more = {
    ...(detail !== undefined && { detail }),
    ...(side !== undefined && { side }),
    ...(bytesDone !== undefined && { checkpoint: { bytesDone } }),
  };
  if (cause instanceof TimeoutFailure) {
    const isTaken = cause.timeoutType !== TimeoutType.SCHEDULE_TO_START;
    const code = isTaken || side === undefined ? 'WorkerLost' : notAnswering[side];
    const hangs = cause.timeoutType === TimeoutType.START_TO_CLOSE;
    return toFailure(code, hangs ? HANGS : undefined, more);
  }
  if (cause instanceof ApplicationFailure) {
    const code = failureCodeSchema.safeParse(cause.type);
    return code.success ? toFailure(code.data, cause.message, more) : { ...unexpectedFailure(cause.message), ...more };
  }
  return unexpectedFailure(error instanceof Error ? error.message : String(error));
}

/** From the failure or the last heartbeat; the checkpoint may be out of date. */
function detailsOf(cause: unknown): FailureDetails {
  const told: unknown =
    cause instanceof TimeoutFailure
      ? cause.lastHeartbeatDetails
      : cause instanceof ApplicationFailure
        ? cause.details?.[0]
        : undefined;
  return failureDetailsSchema.safeParse(told).data ?? {};
}
