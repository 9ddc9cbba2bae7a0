/**
 * Turns an error of an activity into one that the workflow understands: an entry of the error catalogue becomes an
 * ApplicationFailure of that type. The server never retries it; the ladder does, visibly. Any other error is a bug, and
 * is reported as one.
 */
import { ApplicationFailure, ApplicationFailureCategory, CancelledFailure } from '@temporalio/common';
import { Context } from '@temporalio/activity';
import { CatalogueError, failureCatalogue, type Checkpoint, type FailureDetails } from '../domain/errors.js';
import { keepAlive } from './keep-alive.js';

/** A step failed, and the checkpoint says how far it had come. */
export class FailedAt extends Error {
  override readonly name = 'FailedAt';
  constructor(
    override readonly cause: unknown,
    readonly checkpoint: Checkpoint,
  ) {
    super('A step failed', { cause });
  }
}

/** @param checkpoint travels with the failure, so that the ladder sees whether the step has advanced. */
export function toApplicationFailure(error: unknown, checkpoint?: Checkpoint): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  const isKnown = error instanceof CatalogueError;
  const cause = isKnown ? error.cause : error;
  return ApplicationFailure.create({
    type: isKnown ? error.code : 'Unexpected',
    message: error instanceof Error ? error.message : String(error),
    nonRetryable: true,
    details: detailsOf({ ...(isKnown && { detail: error.detail }), ...checkpoint }),
    ...(cause instanceof Error && { cause }),
  });
}

const detailsOf = (details: FailureDetails): [] | [FailureDetails] =>
  Object.keys(details).length === 0 ? [] : [details];

type Activities = Record<string, (input: never) => Promise<unknown>>;

/** Wraps every activity: keeps it alive, classifies its failures, and logs unknown errors as bugs. */
export function classified<T extends object>(activities: T): T {
  const wrapped: Record<string, (input: never) => Promise<unknown>> = {};
  for (const [name, activity] of Object.entries(activities as Activities)) {
    wrapped[name] = async (input) => {
      const context = Context.current();
      const end = keepAlive(context);
      try {
        return await activity(input);
      } catch (caught) {
        const { error, checkpoint } = failedAt(caught);
        if (context.cancellationSignal.aborted) {
          // `cancelled` never resolves: it rejects with the reason, which the server must get.
          await context.cancelled.catch((reason: unknown) => {
            throw isShutdown(reason) ? workerStopped(checkpoint) : reason;
          });
        }
        const failure = toApplicationFailure(error, checkpoint);
        if (failure instanceof ApplicationFailure && failure.type === 'Unexpected') {
          context.log.error('An activity failed in an unexpected way', { error });
        }
        throw failure;
      } finally {
        end();
      }
    };
  }
  return wrapped as T;
}

/** The worker was told to stop, and the time to finish its work is over. */
const isShutdown = (reason: unknown): boolean =>
  reason instanceof CancelledFailure && reason.message === 'WORKER_SHUTDOWN';

/** The work is handed back to the next worker. The SDK's own error would mean nothing to the ladder. */
const workerStopped = (checkpoint: Checkpoint | undefined): ApplicationFailure =>
  ApplicationFailure.create({
    type: 'WorkerStopped',
    message: failureCatalogue.WorkerStopped.message,
    // Allows the server to repeat polls and posts by itself; the ladder retries everything else.
    nonRetryable: false,
    details: detailsOf(checkpoint ?? {}),
    category: ApplicationFailureCategory.BENIGN,
  });

const failedAt = (error: unknown): { error: unknown; checkpoint?: Checkpoint } =>
  error instanceof FailedAt ? { error: error.cause, checkpoint: error.checkpoint } : { error };
