/** One replication cycle within a job: cut and sent at the source, applied at the replica. */
import type { AppliedCycle } from '../activities/target.js';
import type { ShippedCycle } from '../activities/shipped-cycle.js';
import type { JobKind } from '../domain/jobs/known-jobs.js';
import { tagsOfCycle } from '../domain/named-points.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import type { JobRun } from './job-run.js';
import { retentionOf } from './retention.js';

export interface ReplicatedCycle {
  readonly shipped: ShippedCycle;
  readonly applied: AppliedCycle;
  /** Facts that the entity needs. */
  readonly outcome: Pick<JobOutcome, 'cycle' | 'recoveryPoint' | 'namedPoints'>;
}

export async function replicateOnce<K extends JobKind>(
  run: JobRun<K>,
  of: { vm: string; epoch: number; sequence: number },
): Promise<ReplicatedCycle> {
  const { vm, epoch, sequence } = of;
  // The first cycle of the job that may carry a name gets it.
  const tags = tagsOfCycle(run.input, { epoch, sequence }).filter((tag) => !run.namesGiven.has(tag));
  for (const tag of tags) run.namesGiven.add(tag);
  const cutInput = { ...of, ...(tags.length > 0 && { tags }) };
  const retentionHours = run.input.policy.recoveryPointRetentionHours;
  const shipped = await run.step(`send cycle ${sequence}`, () =>
    run.source.cutAndShip({ ...cutInput, retention: retentionOf(run.input.policy) }),
  );
  const applied = await run.step(`apply cycle ${sequence}`, () =>
    run.target.applyCycle({ vm, epoch, sequence, retentionHours }),
  );
  const { sealedAt, bytes } = shipped;
  return {
    shipped,
    applied,
    outcome: {
      cycle: { sequence, sealedAt, bytes },
      ...(applied.recoveryPoint && { recoveryPoint: applied.recoveryPoint }),
      ...(applied.namedPoints && { namedPoints: [...applied.namedPoints] }),
    },
  };
}
