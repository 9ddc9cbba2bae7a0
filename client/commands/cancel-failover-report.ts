/** The cancellation of a failover: what it would do, and what it did. */
import type { ProtectedItem } from '../../domain/protected-item.js';
import {
  cancelledFailoverResultSchema,
  type CancelledFailoverResult,
  type FailoverCancellation,
} from '../../domain/failover-cancellation.js';
import type { Job } from '../../domain/job.js';
import { writesText } from '../../domain/replica-vm.js';
import { fields } from '../output.js';

/** Undefined if the job did not cancel a failover or has no result. */
export const cancelledFailoverResultOf = ({ kind, result }: Job): CancelledFailoverResult | undefined =>
  kind === 'cancelFailover' ? cancelledFailoverResultSchema.safeParse(result).data : undefined;

export function cancelledFailoverText(vm: string, result: CancelledFailoverResult): string {
  const { runningAt, discarded, discardedProblem, resyncCause } = result;
  return [
    `The failover of ${vm} was cancelled: it runs at the primary site again.`,
    fields([
      ['Running', runningAt],
      [
        'Discarded',
        writesText({ written: discarded, ...(discardedProblem !== undefined && { problem: discardedProblem }) }),
      ],
    ]),
    ...(resyncCause === undefined
      ? ['Its replica equals it, so replication continues without a comparison.']
      : [
          `Its replica is being compared with it now, and only differences are sent: ${resyncCause}. Until then, its recovery points are the newest state in the vault. Follow it with: farshore status --watch`,
        ]),
  ].join('\n');
}

/** What the cancellation will do, for the operator to confirm. */
export function cancellationConsequences(
  { vm, sourceRan }: Pick<ProtectedItem, 'vm' | 'sourceRan'>,
  { replicaVm, recoveryPoint, source }: FailoverCancellation,
): string {
  const { host, isRunning } = source;
  const start = isRunning
    ? `its source on host ${host}, which is running already, keeps running`
    : `its source is started on host ${host}, as it was left there`;
  const ran =
    sourceRan === undefined
      ? []
      : [
          `The source kept running after the failover until ${sourceRan.until}: the VM will have the data that was written there in that time.`,
        ];
  return [
    `The replica VM of ${vm} will be turned off; then ${start}, and the replica VM is deleted.`,
    fields([
      ['Runs from', recoveryPoint && `${recoveryPoint.id} (${recoveryPoint.time})`],
      ['Discarded', writesText(replicaVm)],
    ]),
    ...ran,
    'Everything written at the recovery site since the failover is discarded. This cannot be undone.',
    'Recovery points are kept. Unless its replica is proven equal, it is compared with its source immediately, and only differences are sent.',
  ].join('\n');
}
