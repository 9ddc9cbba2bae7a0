/**
 * One cycle of the delta loop: the logs of all disks are cut and sent, then applied to the replica. A retry takes the
 * place of the next cycle; a job that is asked for ends the waiting.
 * Cancelled, when an unplanned failover takes over, it waits for nobody: late uploads are refused by the raised epoch.
 * Restart: a cycle is named by (epoch, sequence) on both sides, so doing it again goes on where it stood.
 */
import type { ItemEvent } from '../domain/transitions.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toIso } from '../domain/time.js';
import { climb, type LadderControl } from './ladder.js';
import { cycleSidesOf } from './sides.js';
import { StepFailure } from './step-failure.js';

export async function deltaCycle(
  item: ProtectedItem,
  ladder: LadderControl,
  on: (event: ItemEvent) => void,
): Promise<void> {
  const { vm, epoch, nextSequence: sequence } = item;
  const { agent, azure } = cycleSidesOf(item.host, item.vault);
  const retentionHours = item.policy.recoveryPointRetentionHours;
  on({ type: 'cycleBegun' });
  try {
    const shipped = await climb(
      `cycle ${sequence}`,
      () => agent.cutAndShip({ vm, epoch, sequence, final: false }),
      ladder,
      item.retry,
    );
    if (!shipped.done) return;
    const { sealedAt, bytes } = shipped.value;
    const cycle = { sequence, sealedAt, bytes };
    on({ type: 'cycleShipped', cycle });
    const applied = await climb(
      `apply cycle ${sequence}`,
      () => azure.applyCycle({ vm, epoch, sequence, retentionHours }),
      ladder,
    );
    if (!applied.done) return;
    on({ type: 'cycleApplied', cycle, recoveryPoint: applied.value.recoveryPoint, at: toIso(Date.now()) });
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    on({ type: 'resyncRequired', cause: error.failure.message, at: toIso(Date.now()) });
  }
}
