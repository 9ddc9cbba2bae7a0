/** The settings of a protected VM: pause, resume, policy. These are not jobs; each takes effect immediately. */
import type { Operation } from '../domain/operations.js';
import { policySchema } from '../domain/policy.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { ItemEvent } from '../domain/transitions.js';
import { now } from './clock.js';
import type { Handlers } from './handlers.js';
import * as messages from './messages.js';
import { refusePolicyUnlessAllowed } from './refusal.js';

/** The part of the entity that its settings need. */
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
      owner.on({ type: 'paused', at: now() });
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
      // Omitted fields have their default values.
      owner.on({ type: 'policyChanged', policy: policySchema.safeParse(policy).data ?? policy, at: now() });
      return due();
    },
    (request) => refusePolicyUnlessAllowed(owner.item(), request),
  );
}
