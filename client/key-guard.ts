/**
 * Keeps a client from sending data that the workers could not decrypt, or unencrypted data although encryption is on. A
 * workflow that receives data encrypted with a key that its worker lacks makes no progress until the worker has the
 * key.
 */
import type { Connection, WorkflowClientInterceptor } from '@temporalio/client';
import { taskQueues } from '../domain/ids.js';
import { disagreement } from '../temporal/encryption/key-agreement.js';
import type { KeyRing } from '../temporal/encryption/key-ring.js';
import { pollersOf, WORKFLOWS } from '../temporal/pollers.js';
import { RefusedError } from './errors.js';

/** Checked before each message, because workers come and go. @throws RefusedError from the call that sends. */
export function keyGuard(
  connection: Connection,
  namespace: string,
  vault: string,
  keys: KeyRing | undefined,
): WorkflowClientInterceptor {
  const check = async () => {
    // Do not stop a client that has no permission to list pollers.
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
