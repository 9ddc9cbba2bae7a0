/**
 * One cycle of the delta loop: the logs of all disks are cut and sent, then applied to the replica. A retry of a failed
 * cycle takes the place of the next cycle; a requested job ends the wait for a retry.
 * An unplanned failover cancels the cycle and waits for nothing: the raised epoch makes the store refuse late uploads.
 * After a restart the cycle continues where it stopped, because both sites know it by (epoch, sequence).
 */
import type { ShippedCycle } from '../activities/shipped-cycle.js';
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
  /** Like `on`, but published only together with the next event: each publication is an event of the history. */
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
  // A repeated cycle gets the same values: the state that they depend on changes only once the cycle is sent and
  // applied.
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
    // Read at each attempt: if a shorter retention is set while the store is full, the next attempt frees space.
    const send = () => sides().source.cutAndShip({ ...cutInput, retention: retentionOf(entity.item().policy) });
    const shipped = await climb(`cycle ${sequence}`, send, ladder, item.retry);
    if (!shipped.done) return;
    const { sealedAt, bytes } = shipped.value;
    // A cycle can't be sealed after it was sent: a source clock that runs ahead must not hide the replica's age.
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

/**
 * Why a cycle is only crash-consistent although an app-consistent one was requested. A cycle that was cut before the
 * request gives no reason itself.
 */
const withoutFreeze = ({ appConsistent, appConsistentFailure }: ShippedCycle): AppConsistentFailure | undefined =>
  appConsistent
    ? undefined
    : (appConsistentFailure ?? {
        reason: 'AppConsistentFailed',
        message: 'the cycle was cut before the guest could be frozen for it',
      });
