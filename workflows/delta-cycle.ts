/**
 * One cycle of the delta loop: the logs of all disks are cut and sent, then applied to the replica. A retry takes the
 * place of the next cycle; a job that is asked for ends the waiting.
 * Cancelled, when an unplanned failover takes over, it waits for nobody: late uploads are refused by the raised epoch.
 * Restart: a cycle is named by (epoch, sequence) on both sides, so doing it again goes on where it stood.
 */
import type { ShippedCycle } from '../activities/source.js';
import { isAppConsistentDue, type AppConsistentFailure } from '../domain/app-consistency.js';
import { tagsOfCycle } from '../domain/named-points.js';
import { resyncCauseOf } from '../domain/errors.js';
import { earlier } from '../domain/time.js';
import type { ItemEvent } from '../domain/transitions.js';
import { applySmallCycle, isSmall } from './apply-cycle.js';
import { now } from './clock.js';
import { countCycle } from './counters.js';
import type { MovingEntity } from './find-vm.js';
import { activityIsScheduled } from './history-limit.js';
import { climb, type LadderControl } from './ladder.js';
import { retentionOf } from './retention.js';
import { cycleSidesOf } from './sides.js';
import { StepFailure } from './step-failure.js';

export interface ReplicatedEntity extends MovingEntity {
  /** As `on`, and shown with what comes next: each time that something is shown is an event of the history. */
  note(event: ItemEvent): void;
  publish(): void;
}

export async function deltaCycle(entity: ReplicatedEntity, ladder: LadderControl): Promise<void> {
  const item = entity.item();
  const on = entity.on.bind(entity);
  const { vm, epoch, nextSequence: sequence } = item;
  const sides = () => cycleSidesOf(item.vault, entity.item().host);
  const { policy } = item;
  const retentionHours = policy.recoveryPointRetentionHours;
  // Both are the same when the cycle is done again: what they are made from changes only once it is sent and applied.
  const tags = tagsOfCycle(item, { epoch, sequence });
  const appConsistent = isAppConsistentDue(item, now());
  const cutInput = {
    ...{ vm, epoch, sequence },
    ...(tags.length > 0 && { tags }),
    ...(appConsistent && { appConsistent }),
  };
  entity.note({ type: 'cycleBegun' });
  activityIsScheduled();
  try {
    // Of another policy that was set while a full store is waited for, the next attempt makes room.
    const send = () => sides().source.cutAndShip({ ...cutInput, retention: retentionOf(entity.item().policy) });
    const shipped = await climb(`cycle ${sequence}`, send, ladder, item.retry);
    if (!shipped.done) return;
    const { sealedAt, bytes } = shipped.value;
    // Nothing is sent before it is sealed: a source clock that runs ahead must not hide how old the replica is.
    const cycle = { sequence, sealedAt: earlier(sealedAt, now()), bytes };
    const appConsistency = appConsistent ? { at: now(), failure: withoutFreeze(shipped.value) } : undefined;
    entity.note({ type: 'cycleShipped', cycle, appConsistency });
    const toApply = { vm, epoch, sequence, retentionHours, policy };
    const apply = async () => {
      const done = isSmall(bytes) ? await applySmallCycle(toApply) : undefined;
      if (done) return done;
      entity.publish();
      return sides().target.applyCycle(toApply);
    };
    const applied = await climb(`apply cycle ${sequence}`, apply, ladder, entity.item().retry);
    if (!applied.done) return;
    const { recoveryPoint, namedPoints } = applied.value;
    const before = entity.item();
    const at = now();
    on({ type: 'cycleApplied', cycle, recoveryPoint, namedPoints, at });
    if (entity.item() !== before) countCycle(before, at);
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    on({ type: 'resyncRequired', cause: resyncCauseOf(error.failure), at: now() });
  }
}

/** Why a cycle is crash-consistent that was asked to be more. A cycle that was there before it was asked says nothing. */
const withoutFreeze = ({ appConsistent, appConsistentFailure }: ShippedCycle): AppConsistentFailure | undefined =>
  appConsistent
    ? undefined
    : (appConsistentFailure ?? {
        reason: 'AppConsistentFailed',
        message: 'the cycle was cut before the guest could be frozen for it',
      });
