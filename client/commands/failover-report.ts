/** The numbers of a planned failover, which prove that no write was lost. */
import { failoverResultSchema, type FailoverResult } from '../../domain/job.js';
import { formatSeconds } from '../../domain/time.js';
import { fields, table } from '../output.js';

/** Undefined if the job has no result, or its result is not that of a planned failover. */
export function failoverResultOf(result: Record<string, unknown> | undefined): FailoverResult | undefined {
  const parsed = failoverResultSchema.safeParse(result);
  return parsed.success ? parsed.data : undefined;
}

/** The next step after a failover. */
export const nextAfterFailover = (vm: string): string =>
  `Next, once you have checked that the replica VM works: farshore commit ${vm}\n` +
  `If it does not work, run it from another point: farshore change-recovery-point ${vm} --recovery-point POINT\n` +
  `Or run the VM at the primary site again: farshore cancel-failover ${vm}`;

export function failoverText(vm: string, result: FailoverResult): string {
  const { rtoSeconds, rpoSeconds, exportsClosedAt, sealedAt, recoveryPoint, recoveryPointTime } = result;
  return [
    `${vm} was failed over, and its replica VM was started at the recovery site.`,
    fields([
      ['Exports closed at', exportsClosedAt],
      ['Last logs sealed at', sealedAt],
      ['Recovery point', `${recoveryPoint} (${recoveryPointTime})`],
      ['RPO', rpoSeconds === 0 ? '0 s: nothing was lost' : `${rpoSeconds} s`],
      ['RTO', formatSeconds(rtoSeconds)],
    ]),
    failoverDisks(result),
  ].join('\n');
}

/** For each disk, the number of the last write that the source issued and of the last write that the replica holds. */
export function failoverDisks({ disks, replicaDisks }: FailoverResult): string {
  const rows = disks.map(({ name, lastWriteIssued, lastWriteApplied }) => [
    name,
    `${lastWriteIssued}`,
    `${lastWriteApplied}`,
    lastWriteIssued === lastWriteApplied ? 'all' : 'NOT ALL',
    replicaDisks.find((disk) => disk.name === name)?.nbdUri ?? '-',
  ]);
  return table(['DISK', 'LAST WRITE ISSUED', 'LAST WRITE APPLIED', 'APPLIED', 'SERVED AT'], rows);
}
