/** What an entity refuses before anything is touched. */
import { ApplicationFailure } from '@temporalio/workflow';
import { allowedOperations, type Operation } from '../domain/operations.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import * as messages from './messages.js';

/** The job that a request was answered with. Asking twice is harmless. */
export const answeredBefore = (item: ProtectedItem, requestId: string): string | undefined =>
  item.answered.find((entry) => entry.requestId === requestId)?.jobId;

/** @throws ApplicationFailure InvalidInput, OperationNotAllowed with the reason. */
export function refuseUnlessAllowed(
  item: ProtectedItem,
  operation: Operation,
  raw: messages.OperationRequest,
  schema: messages.RequestSchema = messages.jobOperationRequestSchema,
): void {
  const request = schema.safeParse(raw);
  if (!request.success) {
    const problems = request.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
    throw ApplicationFailure.nonRetryable(problems.join('; '), 'InvalidInput');
  }
  if (answeredBefore(item, request.data.requestId) !== undefined) return;
  const permission = allowedOperations(item)[operation];
  if (!permission.allowed) {
    throw ApplicationFailure.nonRetryable(`${item.vm}: ${permission.reason}`, 'OperationNotAllowed');
  }
}
