/** How a VM is replicated, changed while it is: paused, resumed, under another policy. No jobs: each is done at once. */
import { patched } from '@temporalio/workflow';
import type { RetryState } from '../domain/job.js';
import type { Operation } from '../domain/operations.js';
import { policySchema } from '../domain/policy.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { ItemEvent } from '../domain/transitions.js';
import { now } from './clock.js';
import type { Handlers } from './handlers.js';
import * as messages from './messages.js';
import { refusePolicyUnlessAllowed } from './refusal.js';
import { PAUSE_KEEPS_CONDITIONS } from './versions.js';

/** The entity, as far as its settings are concerned. */
export interface SettingsOwner {
  item(): ProtectedItem;
  on(event: ItemEvent): void;
  /** @throws ApplicationFailure InvalidInput, OperationNotAllowed */
  validate(operation: Operation, request: messages.OperationRequest): void;
}

export function handleSettings({ onUpdate }: Handlers, owner: SettingsOwner): void {
  const due = (): messages.NextCycle => {
    const { cycleDueAt } = owner.item();
    return { ...(cycleDueAt !== undefined && { cycleDueAt }) };
  };
  onUpdate(
    messages.pauseUpdate,
    () => {
      owner.on({ type: 'paused', at: now(), keepsConditions: patched(PAUSE_KEEPS_CONDITIONS) });
      return { since: owner.item().paused?.since ?? now() };
    },
    (request) => owner.validate('pause', request),
  );
  onUpdate(
    messages.resumeUpdate,
    () => {
      owner.on({ type: 'resumed', at: now() });
      return due();
    },
    (request) => owner.validate('resume', request),
  );
  onUpdate(
    messages.setPolicyUpdate,
    ({ policy }) => {
      // What was left out has its usual value.
      owner.on({ type: 'policyChanged', policy: policySchema.safeParse(policy).data ?? policy, at: now() });
      return due();
    },
    (request) => refusePolicyUnlessAllowed(owner.item(), request),
  );
}

/** What fails in the middle of a pause is not tried again before its end, and a condition all the same. */
export const failedStep = (retry: RetryState, { paused }: ProtectedItem): ItemEvent => ({
  type: 'stepFailed',
  retry,
  keepsConditions: paused !== undefined && patched(PAUSE_KEEPS_CONDITIONS),
});
