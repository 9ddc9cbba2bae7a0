/**
 * Turns what an activity throws into what the workflow understands: an entry of the error catalogue becomes an
 * ApplicationFailure of that type, never retried by the server (the ladder does that, visibly). Anything else is a bug
 * and says so.
 */
import { ApplicationFailure, ApplicationFailureCategory, CancelledFailure } from '@temporalio/common';
import { Context } from '@temporalio/activity';
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import { keepAlive } from './keep-alive.js';

/** @param checkpoint travels with the failure, so that the ladder sees whether the step had come further. */
export function toApplicationFailure(error: unknown, checkpoint?: { bytesDone: number }): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  const details = checkpoint ? [checkpoint] : [];
  if (error instanceof CatalogueError) {
    return ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: true,
      details,
      ...(error.cause instanceof Error && { cause: error.cause }),
    });
  }
  const message = error instanceof Error ? error.message : String(error);
  return ApplicationFailure.create({
    type: 'Unexpected',
    message,
    nonRetryable: true,
    details,
    ...(error instanceof Error && { cause: error }),
  });
}

type Activities = Record<string, (input: never) => Promise<unknown>>;

/** Wraps every activity so that it is kept alive, its failures are classified, and unknown ones are logged as bugs. */
export function classified<T extends object>(activities: T): T {
  const wrapped: Record<string, (input: never) => Promise<unknown>> = {};
  for (const [name, activity] of Object.entries(activities as Activities)) {
    wrapped[name] = async (input) => {
      const context = Context.current();
      const end = keepAlive(context);
      try {
        return await activity(input);
      } catch (error) {
        if (context.cancellationSignal.aborted) {
          // `cancelled` never resolves: it rejects with the reason, which is what the server has to hear.
          await context.cancelled.catch((reason: unknown) => {
            throw isShutdown(reason) ? workerStopped(lastCheckpoint(error)) : reason;
          });
        }
        const failure = toApplicationFailure(error, lastCheckpoint(error));
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

/** The worker is told to stop, and what it does has had its time to end. */
const isShutdown = (reason: unknown): boolean =>
  reason instanceof CancelledFailure && reason.message === 'WORKER_SHUTDOWN';

/** Handed back, for the next worker. What the SDK would say by itself means nothing to the ladder. */
const workerStopped = (checkpoint: { bytesDone: number } | undefined): ApplicationFailure =>
  ApplicationFailure.create({
    type: 'WorkerStopped',
    message: failureCatalogue.WorkerStopped.message,
    // The server may call again by itself what is polled or posted; all else is the ladder's.
    nonRetryable: false,
    details: checkpoint ? [checkpoint] : [],
    category: ApplicationFailureCategory.BENIGN,
  });

const checkpoints = new WeakMap<object, { bytesDone: number }>();

/** Remembers how far a step had come when it failed with this error. */
export function withCheckpoint<E>(error: E, checkpoint: { bytesDone: number }): E {
  if (typeof error === 'object' && error !== null) checkpoints.set(error, checkpoint);
  return error;
}

const lastCheckpoint = (error: unknown) =>
  typeof error === 'object' && error !== null ? checkpoints.get(error) : undefined;
