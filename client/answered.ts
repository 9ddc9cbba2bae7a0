/** Turns a call that Temporal does not answer into an error that says which process does not answer. */
import type { Connection } from '@temporalio/client';
import { refusedCredentials, type TemporalTarget } from '../temporal/problem.js';
import { UnreachableError } from './errors.js';
import { answerOf } from './temporal-answer.js';
import { isNotHeard, isServerAway, isWorkerAway } from './grpc-status.js';

/** A running workflow must answer within this time, ms; otherwise its worker is reported as down. */
const ANSWER_TIMEOUT_MS = 20_000;
/** Attempts to reach a workflow; even two failures in a row are unlikely. */
const ATTEMPTS = 5;

/**
 * @param call may be repeated: a request to a workflow carries the request's ID.
 * @throws UnreachableError if the server, or the worker that runs the workflows, does not answer in time; RefusedError
 * if the server refuses the credentials.
 */
export async function answered<T>(
  connection: Connection,
  target: TemporalTarget,
  vault: string,
  call: () => Promise<T>,
): Promise<T> {
  try {
    return await connection.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () => heard(call));
  } catch (error) {
    if (isServerAway(error)) {
      const where = `${target.address}, configured by ${target.configuredBy}`;
      throw new UnreachableError(`Temporal at ${where} has stopped answering. Check it with \`farshore doctor\`.`, {
        cause: error,
      });
    }
    if (isWorkerAway(error)) {
      throw azureWorkerAway(`The Azure worker of vault ${vault}`, { cause: error });
    }
    throw answerOf(refusedCredentials(error, target) ?? error);
  }
}

async function heard<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (attempt === ATTEMPTS || !isNotHeard(error)) throw error;
    }
  }
}

/** @param who the process that does not answer, as the beginning of a sentence. */
export const azureWorkerAway = (who: string, options?: ErrorOptions): UnreachableError =>
  new UnreachableError(
    `${who} does not answer. It runs the workflows; start it: \`farshore worker --role azure\`, or \`farshore up\`.`,
    options,
  );
