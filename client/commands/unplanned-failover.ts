/** `failover --type unplanned`: says what will be lost, asks for confirmation, and reports what was lost. */
import type { Command } from 'commander';
import { lossAhead, timeLines, type LostHost } from '../../domain/failover-times.js';
import {
  unplannedFailoverResultSchema,
  type Job,
  type JobParameters,
  type UnplannedFailoverResult,
} from '../../domain/job.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { chooseRecoveryPoint, selectorOf } from '../../domain/recovery-point.js';
import { startHypervisor, startProvider } from '../../domain/start-again.js';
import type { LocalSite } from '../../local/local-site.js';
import type { Farshore } from '../farshore.js';
import type { HostSign } from '../host-sign.js';
import { fields, table } from '../output.js';
import { nextAfterFailover } from './failover-report.js';
import { confirmAgainst } from './confirm.js';
import type { DestructiveOptions } from './follow-request.js';
import type { Place } from './place.js';
import { chosen } from './points-report.js';
import { answersText, hostSigns, runsUnwatched } from './primary-side.js';
import { reasonOf, type ReasonOptions } from './reason.js';
import { askAll, failedOver, followAll, toStart } from './several-vms.js';

export interface FailoverOptions extends DestructiveOptions, ReasonOptions {
  readonly type: 'planned' | 'unplanned';
  readonly recoveryPoint?: string;
  readonly tryShutDown?: true;
  readonly force?: true;
}

/** The first given option that only an unplanned failover has. */
export function unplannedOnly({ recoveryPoint, tryShutDown, force }: FailoverOptions): string | undefined {
  if (recoveryPoint !== undefined) return '--recovery-point';
  if (tryShutDown) return '--try-shut-down';
  return force ? '--force' : undefined;
}

export async function failOverUnplanned(
  farshore: Farshore,
  place: Place,
  vms: readonly string[],
  options: FailoverOptions,
  command: Command,
): Promise<void> {
  // A request for a certain point is not fulfilled by an earlier failover.
  const done = (view: ProtectedItemView | undefined) =>
    options.recoveryPoint !== undefined || view?.operations.unplannedFailover.allowed ? undefined : failedOver(view);
  const asked = await askAll(farshore, vms, 'unplannedFailover', done);
  const { LocalSite } = await import('../../local/local-site.js');
  const local = new LocalSite(place.site.site, place.data);
  const signs = await hostSigns(farshore, place, toStart(asked));
  const found = await Promise.all(
    signs.map(async (one) => ({ ...one, point: await pointOf(local, one.vm, options.recoveryPoint) })),
  );
  if (found.length > 0) await confirmLoss(found, options);
  const declaredAt = new Date().toISOString();
  const start = (vm: string) =>
    farshore.startJob(vm, 'unplannedFailover', parametersOf(vm, found, declaredAt, options));
  await followAll('failover', command, farshore, asked, start, options, jobText);
}

interface Found {
  readonly vm: string;
  readonly view: ProtectedItemView;
  readonly sign: HostSign;
  /** Undefined if the store can't be read from here. */
  readonly point: { readonly time: string; readonly suspect?: string | undefined } | undefined;
}

function parametersOf(
  vm: string,
  found: readonly Found[],
  declaredAt: string,
  { recoveryPoint, tryShutDown, ...options }: FailoverOptions,
): JobParameters {
  const sign = found.find((one) => one.vm === vm)?.sign;
  return {
    declaredAt,
    ...(sign && lostHost(sign)),
    ...(recoveryPoint !== undefined && { recoveryPoint }),
    ...(tryShutDown && { tryShutDown: true }),
    ...reasonOf(options),
  };
}

/** Empty while the VM still runs on its host: the loss grows until the source is off. */
function lostHost(sign: HostSign): Pick<JobParameters, keyof LostHost> {
  const { seenAt, silentAt, clockAheadMs } = sign;
  if (!isLost(sign)) return {};
  return {
    ...(seenAt !== undefined && { hostSeenAt: seenAt }),
    ...(silentAt !== undefined && { hostSilentAt: silentAt }),
    ...(clockAheadMs !== undefined && { hostClockAheadMs: clockAheadMs }),
  };
}

const isLost = (sign: HostSign): boolean => !sign.answers && !runsUnwatched(sign);

/**
 * Checks that the point exists before a running job is cancelled for it.
 * @throws CatalogueError RecoveryPointNotFound
 */
async function pointOf(local: LocalSite, vm: string, wanted: string | undefined): Promise<Found['point']> {
  // If the store can't be read from here, it may still be readable where the job runs.
  const state = await local.recoveryState(vm).catch(() => undefined);
  if (!state) return undefined;
  if (wanted !== undefined) chooseRecoveryPoint(selectorOf(wanted), state);
  return chosen(selectorOf(wanted ?? 'latest'), state);
}

/**
 * While a VM's host answers, or only its hypervisor does not, there is a better way: the prompt names it and asks for
 * the VM's name.
 */
async function confirmLoss(found: readonly Found[], options: FailoverOptions): Promise<void> {
  const at = new Date().toISOString();
  const alive = found.filter(({ sign }) => !isLost(sign) || sign.hypervisorAlone);
  const objections = alive.map((one) => ({ vm: one.vm, text: aliveText(one) }));
  const text = found.map((one) => consequences(one, options, at)).join('\n');
  await confirmAgainst(text, objections, 'to fail over', options);
}

function aliveText({ vm, view, sign }: Found): string {
  if (runsUnwatched(sign)) return unwatchedText(vm, sign);
  if (sign.hypervisorAlone) return hypervisorText(vm, view.item.host);
  const planned = view.operations.plannedFailover;
  const first = sign.providerAnswers ? '' : `restart the Provider: ${startProvider(view.item.vmmServer)}. Then `;
  const better = planned.allowed
    ? `${first}a planned failover loses nothing: farshore failover ${vm} --type planned --wait`
    : `a planned failover is not possible now: ${planned.reason}`;
  return `${vm}: ${answersText(sign)}; ${better}`;
}

/** A host whose agent answers is not lost. */
const hypervisorText = (vm: string, host: string): string =>
  `${vm}: the agent of host ${host} answers, and only its hypervisor does not: restart that, and nothing is lost: ${startHypervisor(host)}`;

function unwatchedText(vm: string, { host, providerAnswers }: HostSign): string {
  const missing = providerAnswers ? "that host's agent" : "that host's agent and the Provider";
  return `${vm}: the VM runs on host ${host}, but the agent there does not answer; restart ${missing}, then fail over without data loss: farshore failover ${vm} --type planned --wait`;
}

function consequences(
  { vm, view, sign, point }: Found,
  { recoveryPoint, tryShutDown }: FailoverOptions,
  at: string,
): string {
  const { item } = view;
  const asHeard = recoveryPoint === undefined || recoveryPoint === 'latest' ? item.shipped?.sealedAt : undefined;
  const lost = lossAhead(point?.time ?? asHeard, item.host, lostHost(sign), at);
  const source = tryShutDown
    ? 'Farshore first asks the source to shut down and send its last changes, but does not wait long for it.'
    : sourceText(sign, item.vmmServer);
  const warning =
    point?.suspect === undefined
      ? ''
      : `\nThis recovery point is suspect and may not match what the guest wrote: ${point.suspect}.`;
  const job = item.job ? `\nThe failover cancels the running job ${item.job.jobId}.` : '';
  return `${vm} will run at the recovery site, from the data in the vault. ${lost}\n${source}${job}${warning}`;
}

/** What happens to the source if it is not shut down first. */
function sourceText(sign: HostSign, vmmServer: string): string {
  if (isLost(sign))
    return 'The source VM is not contacted first: make sure that it is off and stays off. Farshore turns it off as soon as its hypervisor and its Provider answer.';
  return sign.providerAnswers
    ? 'Farshore turns off the source VM through its Provider after the failover.'
    : `The source VM keeps running beside the replica VM, as the Provider of VMM server ${vmmServer} does not answer: shut down the source on its host first.`;
}

const jobText = (vm: string, job: Job): string =>
  `${unplannedText(job) ?? `${vm}: ${job.state}`}\n${nextAfterFailover(vm)}`;

/** The result of an unplanned failover; undefined while there is none. */
export function unplannedText({ vm, result }: Job): string | undefined {
  const parsed = unplannedFailoverResultSchema.safeParse(result);
  return parsed.success ? resultText(vm, parsed.data) : undefined;
}

function resultText(vm: string, result: UnplannedFailoverResult): string {
  const { recoveryPoint, recoveryPointTime, cyclesProcessed } = result;
  const shutDown = { notTried: 'not tried', done: 'done', failed: `failed: ${result.shutDownProblem ?? 'no reason'}` };
  return [
    `${vm} was failed over, and its replica VM was started at the recovery site.`,
    fields([
      ['Recovery point', `${recoveryPoint} (${recoveryPointTime})`],
      ...timeLines(result),
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
