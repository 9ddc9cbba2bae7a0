/**
 * After an unplanned failover the source has still to be told that it must not run any more. The request lies in the
 * Provider's queue until somebody is there to take it; then the VM is fenced, and turned off if it has started again.
 * Restart: both steps can be repeated.
 */
import { condition, isCancellation } from '@temporalio/workflow';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { ItemEvent } from '../domain/transitions.js';
import { returningProviderOf } from './sides.js';
import { failureOf } from './step-failure.js';

/** A Provider that answers but can't reach its host is asked again after this, ms. */
const AGAIN_MS = 60_000;

export interface SourceFencing {
  item(): ProtectedItem;
  over(): boolean;
  on(event: ItemEvent): void;
}

export async function fenceSource(fencing: SourceFencing): Promise<void> {
  const owed = () => fencing.item().sourceFence;
  for (;;) {
    await condition(() => fencing.over() || owed() !== undefined);
    const fence = owed();
    if (fencing.over() || !fence) return;
    const { vm, vmmServer } = fencing.item();
    const provider = returningProviderOf(vmmServer);
    try {
      await provider.fenceVm({ vm, epoch: fence.epoch });
      await provider.shutDownVm({ vm });
      fencing.on({ type: 'sourceFenced', epoch: fence.epoch });
    } catch (error) {
      if (isCancellation(error)) throw error;
      fencing.on({ type: 'sourceNotFenced', problem: failureOf(error).message });
      await condition(() => fencing.over(), AGAIN_MS, { summary: `Fence the source of ${vm} again` });
    }
  }
}
