/** How a VM is replicated, changed while it is: paused, resumed, under another policy. No jobs: each is done at once. */
import { setHandler } from '@temporalio/workflow';
import type { Operation } from '../domain/operations.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toIso } from '../domain/time.js';
import type { ItemEvent } from '../domain/transitions.js';
import * as messages from './messages.js';

/** The entity, as far as its settings are concerned. */
export interface SettingsOwner {
  item(): ProtectedItem;
  on(event: ItemEvent): void;
  /** @throws ApplicationFailure InvalidInput, OperationNotAllowed */
  validate(operation: Operation, request: messages.OperationRequest, schema?: messages.RequestSchema): void;
}

const now = () => toIso(Date.now());

export function handleSettings(owner: SettingsOwner): void {
  const due = (): messages.NextCycle => {
    const { cycleDueAt } = owner.item();
    return { ...(cycleDueAt !== undefined && { cycleDueAt }) };
  };
  setHandler(
    messages.pauseUpdate,
    () => {
      owner.on({ type: 'paused', at: now() });
      return { since: owner.item().paused?.since ?? now() };
    },
    { validator: (request) => owner.validate('pause', request) },
  );
  setHandler(
    messages.resumeUpdate,
    () => {
      owner.on({ type: 'resumed', at: now() });
      return due();
    },
    { validator: (request) => owner.validate('resume', request) },
  );
  setHandler(
    messages.setPolicyUpdate,
    ({ policy }) => {
      owner.on({ type: 'policyChanged', policy, at: now() });
      return due();
    },
    { validator: (request) => owner.validate('setPolicy', request, messages.policyRequestSchema) },
  );
}
