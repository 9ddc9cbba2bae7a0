/**
 * Keeps a client from sending what the workers could not read, or could read that shall be encrypted: a workflow that was
 * told something in a key that its worker lacks stands still until it gets the key.
 */
import type { Connection, WorkflowClientInterceptor } from '@temporalio/client';
import { taskQueues } from '../domain/ids.js';
import { disagreement } from '../temporal/encryption/key-agreement.js';
import type { KeyRing } from '../temporal/encryption/key-ring.js';
import { pollersOf, WORKFLOWS } from '../temporal/pollers.js';
import { RefusedError } from './errors.js';

/** Asked before each message, as workers come and go. @throws RefusedError from whatever sends. */
export function keyGuard(
  connection: Connection,
  namespace: string,
  vault: string,
  keys: KeyRing | undefined,
): WorkflowClientInterceptor {
  const check = async () => {
    // Who may not ask who polls is not kept from working.
    const pollers = await pollersOf(connection.workflowService, namespace, taskQueues.azure(vault), WORKFLOWS).catch(
      () => [],
    );
    const found = disagreement(keys, pollers);
    if (found) throw new RefusedError(`nothing was sent: ${found.problem}. Remedy: ${found.remedy}`);
  };
  const checked = async <I, O>(input: I, next: (input: I) => Promise<O>): Promise<O> => {
    await check();
    return next(input);
  };
  return { startWithDetails: checked, startUpdate: checked, signal: checked };
}
