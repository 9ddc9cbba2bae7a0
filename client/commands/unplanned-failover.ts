/** `failover --type unplanned`: says what will be lost, asks, and shows what was. */
import type { Command } from 'commander';
import {
  unplannedFailoverResultSchema,
  type Job,
  type JobParameters,
  type UnplannedFailoverResult,
} from '../../domain/job.js';
import { formatSeconds } from '../../domain/time.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { RefusedError } from '../errors.js';
import { chooseRecoveryPoint, selectorOf } from '../../domain/recovery-point.js';
import type { LocalSite } from '../../workers/local-site.js';
import type { Farshore } from '../farshore.js';
import { fields, table } from '../output.js';
import { confirm } from './confirm.js';
import { followRequest, type DestructiveOptions } from './follow-request.js';
import { chosen } from './points-report.js';

export interface FailoverOptions extends DestructiveOptions {
  readonly type: 'planned' | 'unplanned';
  readonly recoveryPoint?: string;
  readonly tryShutDown?: true;
}

/** The first option given that only an unplanned failover has. */
export function unplannedOnly({ recoveryPoint, tryShutDown }: FailoverOptions): string | undefined {
  if (recoveryPoint !== undefined) return '--recovery-point';
  return tryShutDown ? '--try-shut-down' : undefined;
}

export async function failOverUnplanned(
  farshore: Farshore,
  local: LocalSite,
  vm: string,
  options: FailoverOptions,
  command: Command,
): Promise<void> {
  const view = await farshore.protectedItem(vm);
  if (!view) throw new RefusedError(`${vm}: the VM is not protected`);
  const permission = view.operations.unplannedFailover;
  if (!permission.allowed) throw new RefusedError(`${vm}: ${permission.reason}`);
  const suspect = await suspicionOf(local, vm, options.recoveryPoint);
  await confirm(consequences(vm, view, options, suspect), options.yes);
  const parameters: JobParameters = {
    ...(options.recoveryPoint !== undefined && { recoveryPoint: options.recoveryPoint }),
    ...(options.tryShutDown && { tryShutDown: true }),
  };
  const accepted = await farshore.startJob(vm, 'unplannedFailover', parameters);
  await followRequest(command, farshore, accepted, options, (job) => jobText(vm, job));
}

/**
 * A point that is not there has to be known before a running job is cancelled for it.
 * @returns why the state that is wanted is suspect, if it is. @throws CatalogueError RecoveryPointNotFound
 */
async function suspicionOf(local: LocalSite, vm: string, wanted: string | undefined): Promise<string | undefined> {
  // A store that can't be read here may be read where the job runs.
  const state = await local.recoveryState(vm).catch(() => undefined);
  if (!state) return undefined;
  if (wanted !== undefined) chooseRecoveryPoint(selectorOf(wanted), state);
  const point = chosen(selectorOf(wanted ?? 'latest'), state);
  return state.points.find(({ id }) => id === point?.id)?.suspect;
}

function consequences(
  vm: string,
  view: ProtectedItemView,
  { recoveryPoint, tryShutDown }: FailoverOptions,
  suspect: string | undefined,
): string {
  const { item, rpoSeconds } = view;
  const point = recoveryPoint ?? 'latest';
  const lost =
    point === 'latest'
      ? rpoSeconds === undefined
        ? 'Everything written since the newest recovery point is lost.'
        : `What was written since the newest cycle arrived (${item.shipped?.sealedAt ?? 'unknown'}, ${formatSeconds(rpoSeconds)} ago) is lost.`
      : `Everything written since the recovery point ${point === 'latest-processed' ? `processed last (${item.latestRecoveryPoint?.time ?? 'unknown'})` : point} is lost.`;
  const source = tryShutDown
    ? 'The source is asked to shut down and to send its last changes; it is not waited for.'
    : 'The source is not waited for: make sure that nobody uses it any more. Once its Provider answers it is shut down.';
  const warning = suspect === undefined ? '' : `\nThat state is suspect, may not be what the guest wrote: ${suspect}.`;
  const job = item.job ? `\nThe running job ${item.job.jobId} is cancelled.` : '';
  return `${vm} will run at the recovery side, from what the vault holds. ${lost}\n${source}${job}${warning}`;
}

function jobText(vm: string, job: Job): string {
  const parsed = unplannedFailoverResultSchema.safeParse(job.result);
  return `${parsed.success ? resultText(vm, parsed.data) : `${vm}: ${job.state}`}\nNext: farshore commit ${vm}`;
}

function resultText(vm: string, result: UnplannedFailoverResult): string {
  const { rtoSeconds, rpoSeconds, failedOverAt, recoveryPoint, recoveryPointTime, cyclesProcessed } = result;
  const shutDown = { notTried: 'not tried', done: 'done', failed: `failed: ${result.shutDownProblem ?? 'no reason'}` };
  return [
    `${vm} runs at the recovery side.`,
    fields([
      ['Recovery point', `${recoveryPoint} (${recoveryPointTime})`],
      ['Failed over at', failedOverAt],
      ['RPO', `${formatSeconds(rpoSeconds)}: what was written in it is lost`],
      ['RTO', formatSeconds(rtoSeconds)],
      ['Cycles processed', `${cyclesProcessed}`],
      ['Stopped by', result.processingStoppedBy],
      ['Source shut down', shutDown[result.shutDown]],
    ]),
    table(
      ['DISK', 'SERVED AT'],
      result.replicaDisks.map(({ name, nbdUri }) => [name, nbdUri ?? '-']),
    ),
  ].join('\n');
}
