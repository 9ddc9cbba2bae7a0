/** A problem with Temporal, as an answer: worth a retry, or waiting for a correction. */
import { TemporalProblem } from '../temporal/problem.js';
import { RefusedError, UnreachableError } from './errors.js';

/**
 * @returns UnreachableError or RefusedError for a TemporalProblem, according to its class; any other error unchanged.
 */
export function answerOf(error: unknown): unknown {
  if (!(error instanceof TemporalProblem)) return error;
  const Answer = error.class === 'recoverable' ? UnreachableError : RefusedError;
  return new Answer(error.message, { cause: error });
}
