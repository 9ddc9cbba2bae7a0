/** A change of the recovery point: what it would do, and what it did. */
import type { Job } from '../../domain/job.js';
import {
  differenceText,
  pointChangeResultSchema,
  type PointChange,
  type PointChangeResult,
} from '../../domain/point-change.js';
import { writesText } from '../../domain/replica-vm.js';
import { fields, table } from '../output.js';
import { nextAfterFailover } from './failover-report.js';

/** Undefined if the job did not change a recovery point or has no result. */
export const pointChangeResultOf = ({ kind, result }: Job): PointChangeResult | undefined =>
  kind === 'changeRecoveryPoint' ? pointChangeResultSchema.safeParse(result).data : undefined;

export function pointChangeText(vm: string, result: PointChangeResult): string {
  const { recoveryPoint, recoveryPointTime, replacedPoint, replacedPointTime, discarded, discardedProblem } = result;
  const isSame = recoveryPoint === replacedPoint;
  return [
    `${vm} was created again at the recovery site and runs from ${isSame ? 'the same' : 'another'} recovery point.`,
    fields([
      ['Recovery point', `${recoveryPoint} (${recoveryPointTime})`],
      ['Before', isSame ? undefined : `${replacedPoint} (${replacedPointTime})`],
      [
        'Discarded',
        writesText({ written: discarded, ...(discardedProblem !== undefined && { problem: discardedProblem }) }),
      ],
      ['Running', result.runningAt],
    ]),
    table(
      ['DISK', 'SERVED AT'],
      result.replicaDisks.map(({ name, nbdUri }) => [name, nbdUri ?? '-']),
    ),
    nextAfterFailover(vm),
  ].join('\n');
}

/** What the change will do, for the operator to confirm. */
export function pointChangeConsequences(vm: string, change: PointChange): string {
  const { from, to, replicaVm } = change;
  const named = [to.kind === 'appConsistent' ? 'app-consistent' : 'crash-consistent', ...(to.tags ?? [])].join(', ');
  const suspect =
    to.suspect === undefined ? [] : [`It is suspect and may not match what the guest wrote: ${to.suspect}.`];
  return [
    `The replica VM of ${vm} will be turned off, deleted, created again, and started.`,
    fields([
      ['Recovery point now', `${from.id} (${from.time})`],
      ['New recovery point', `${to.id} (${to.time}, ${named})`],
      ['Discarded', writesText(replicaVm)],
    ]),
    differenceText(change),
    ...suspect,
    'Everything written at the recovery site since the failover is discarded. This cannot be undone.',
  ].join('\n');
}
