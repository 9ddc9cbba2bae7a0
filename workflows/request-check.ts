/** What an update's validator says no to: an input of the wrong shape, and what the VM's state does not allow. */
import { ApplicationFailure } from '@temporalio/workflow';
import type { z } from 'zod';

/** @throws ApplicationFailure InvalidInput */
export function parseRequest<S extends z.ZodType>(schema: S, raw: unknown): z.infer<S> {
  const request = schema.safeParse(raw);
  if (request.success) return request.data;
  const problems = request.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw ApplicationFailure.nonRetryable(problems.join('; '), 'InvalidInput');
}

/** @param reason undefined: it is allowed. @throws ApplicationFailure OperationNotAllowed */
export function requireAllowed(vm: string, reason: string | undefined): void {
  if (reason !== undefined) throw ApplicationFailure.nonRetryable(`${vm}: ${reason}`, 'OperationNotAllowed');
}
