/** Requests that an entity refuses before anything is changed. */
import { ApplicationFailure } from '@temporalio/workflow';
import type { z } from 'zod';
import { isTimeZone } from '../domain/local-time.js';
import { tagRefusal, tagRequestOf } from '../domain/named-points.js';
import { allowedOperations, offeredOperations, type Operation } from '../domain/operations.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import * as messages from './messages.js';

/** The job with which a request was answered, so that a request may be repeated. */
export const answeredBefore = (item: ProtectedItem, requestId: string): string | undefined =>
  item.answered.find((entry) => entry.requestId === requestId)?.jobId;

/** @throws ApplicationFailure InvalidInput, naming each field. */
export function parsedInput<S extends z.ZodType>(schema: S, raw: unknown): z.infer<S> {
  const input = schema.safeParse(raw);
  if (input.success) return input.data;
  const problems = input.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw ApplicationFailure.nonRetryable(problems.join('; '), 'InvalidInput');
}

/**
 * @param over the entity has nothing left to do: a request accepted now would be lost when it closes.
 * @throws ApplicationFailure InvalidInput; OperationNotAllowed with the reason; ProtectionEnding: the caller should ask
 * the next entity.
 */
export function refuseUnlessAllowed(
  item: ProtectedItem,
  operation: Operation,
  raw: messages.OperationRequest,
  schema: messages.RequestSchema = messages.jobOperationRequestSchema,
  over = false,
): void {
  const { requestId } = parsedInput(schema, raw);
  if (answeredBefore(item, requestId) !== undefined) return;
  if (over)
    throw ApplicationFailure.nonRetryable(
      `${item.vm}: its protection is ending; try again in a moment`,
      messages.PROTECTION_ENDING,
    );
  // A plan run asks by signal, and its request is judged again in every replay: so it is judged by the state alone.
  const permission = ('planRun' in raw ? allowedOperations(item) : offeredOperations(item))[operation];
  if (!permission.allowed) {
    throw ApplicationFailure.nonRetryable(`${item.vm}: ${permission.reason}`, 'OperationNotAllowed');
  }
}

/**
 * As above; also refuses an unknown time zone. Two workers may know different time zones, so this is for validators
 * only.
 */
export function refusePolicyUnlessAllowed(item: ProtectedItem, raw: messages.PolicyRequest): void {
  refuseUnlessAllowed(item, 'setPolicy', raw, messages.policyRequestSchema);
  const window = parsedInput(messages.policyRequestSchema, raw).policy.resynchronizationWindow;
  if (window === 'always' || isTimeZone(window.timeZone)) return;
  throw ApplicationFailure.nonRetryable(
    `policy.resynchronizationWindow.timeZone: unknown time zone "${window.timeZone}"; use a name such as Europe/Berlin or UTC`,
    'InvalidInput',
  );
}

/** As above; also refuses a name that is taken. */
export function refuseSyncUnlessAllowed(item: ProtectedItem, raw: messages.SyncRequest): void {
  refuseUnlessAllowed(item, 'sync', raw, messages.syncRequestSchema);
  const reason = raw.tag === undefined || tagRequestOf(item, raw.requestId) ? undefined : tagRefusal(item, raw.tag);
  if (reason !== undefined) throw ApplicationFailure.nonRetryable(`${item.vm}: ${reason}`, 'OperationNotAllowed');
}
