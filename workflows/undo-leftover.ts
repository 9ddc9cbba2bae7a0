/**
 * An entity undoes a leftover of a job of its VM when an operator asks for it. Makes one attempt, which ends
 * immediately if an unplanned failover takes over. Restart: repeatable.
 */
import { isCancellation } from '@temporalio/workflow';
import { wantedLeftover, type ProtectedItem } from '../domain/protected-item.js';
import type { ItemEvent } from '../domain/transitions.js';
import { allIfThere } from './sides.js';
import { failureOf } from './step-failure.js';
import { undo } from './undo.js';

export interface Undoer {
  item(): ProtectedItem;
  on(event: ItemEvent): void;
}

export async function undoLeftover({ item, on }: Undoer): Promise<void> {
  const { vault, vm, host, vmmServer } = item();
  const leftover = wantedLeftover(item());
  if (!leftover) return;
  const { what, epoch } = leftover;
  try {
    await undo(what, allIfThere(vault, host, vmmServer), { vm, epoch });
    on({ type: 'undone', what });
  } catch (error) {
    if (isCancellation(error)) throw error;
    on({ type: 'notUndone', what, failure: failureOf(error) });
  }
}
