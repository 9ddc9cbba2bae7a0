/**
 * After an unplanned failover, the source still has to be told that it must not run any more. The request waits in the
 * Provider's queue until a Provider takes it; then the VM is fenced, and turned off if it has started again.
 *
 * Restart: both steps are repeatable.
 */
import { isCancellation } from '@temporalio/workflow';
import type { FencedVm } from '../activities/source-fabric.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { ItemEvent } from '../domain/transitions.js';
import { now } from './clock.js';
import { returningFabricOf } from './sides.js';
import { failureOf } from './step-failure.js';
import { until, untilOrAfter } from './wait.js';

/**
 * If the Provider answers but cannot reach its host, it is asked again after this time, ms; sooner if the host is heard
 * again.
 */
const AGAIN_MS = 60_000;

export interface SourceFencing {
  item(): ProtectedItem;
  over(): boolean;
  on(event: ItemEvent): void;
}

export async function fenceSource(fencing: SourceFencing): Promise<void> {
  const owed = () => fencing.item().sourceFence;
  for (;;) {
    await until(() => fencing.over() || owed() !== undefined);
    const fence = owed();
    if (fencing.over() || !fence) return;
    const { vault, vm, vmmServer } = fencing.item();
    const fabric = returningFabricOf(vault, vmmServer);
    try {
      // Older workers return nothing.
      const found = (await fabric.fenceVm({ vm, epoch: fence.epoch })) as FencedVm | undefined;
      const { exportsClosedAt } = await fabric.shutDownVm({ vm });
      fencing.on({ type: 'sourceFenced', epoch: fence.epoch, ...(found?.isRunning && { ranUntil: exportsClosedAt }) });
    } catch (error) {
      if (isCancellation(error)) throw error;
      fencing.on({ type: 'sourceNotFenced', problem: failureOf(error).message, at: now() });
      const { hostTrouble } = fencing.item();
      const isBack = () => hostTrouble !== undefined && fencing.item().hostTrouble === undefined;
      await untilOrAfter(() => fencing.over() || isBack(), AGAIN_MS, `Fence the source of ${vm} again`);
    }
  }
}
