/**
 * The only place that publishes state: search attributes, current details in the Temporal Web UI, the log, and the
 * memo. Attributes are sent only when they change, because each upsert is an event of the history.
 */
import { log, upsertMemo, upsertSearchAttributes } from '@temporalio/workflow';
import { formatBytes } from '../domain/bytes.js';
import { drillText, lastDrillText } from '../domain/drill.js';
import { alertedHealthOf, conditionsOf, rpoSeconds, type Health } from '../domain/health.js';
import { currentTask, expectedEnd, type Job } from '../domain/job.js';
import { titleOf } from '../domain/jobs/known-jobs.js';
import { inMarkdown } from '../domain/markdown.js';
import { laterTryText } from '../domain/next-try.js';
import { copyFrequencyMs, type Policy } from '../domain/policy.js';
import { phaseText, standsStill, type ProtectedItem } from '../domain/protected-item.js';
import { formatSeconds } from '../domain/time.js';
import { now } from './clock.js';
import { commandIsIssued } from './history-limit.js';
import { isMachineStep, stagesOf, titleOfStep } from '../domain/plan-graph.js';
import type { PlanRun } from '../domain/plan-run.js';
import type { MemoKey } from './messages.js';
import { searchAttributes } from './search-attributes.js';
import { showDetails } from './show-details.js';

type Shown = Record<string, string | number | null>;
const shown: Shown = {};
let shownSequence: number | undefined;

/** Workflow modules are loaded per run, so this remembers what this run has sent. */
function attributes(values: Shown): void {
  const changed = Object.entries(values).filter(([name, value]) => shown[name] !== value);
  if (changed.length === 0) return;
  Object.assign(shown, values);
  const keys = Object.values(searchAttributes);
  upsertSearchAttributes(
    changed.map(([name, value]) => ({ key: keys.find((key) => key.name === name)!, value }) as never),
  );
  commandIsIssued();
}

const { vault, vm, phase, health, jobKind, jobState, planRun, rpoSeconds: rpo } = searchAttributes;

const WAITING_FOR_PERSON = 'WaitingForPerson';

let remembered = '';

/**
 * The memo is for readers who ask the server instead of the workflow; see `MemoKey`. Each change is an event of the
 * history.
 */
function remember(key: MemoKey, state: unknown): void {
  const text = JSON.stringify(state);
  if (text === remembered) return;
  remembered = text;
  upsertMemo({ [key]: state });
  commandIsIssued();
}

/**
 * One value by which both jobs and VMs that wait for an operator can be listed. Not set for a VM that has never waited
 * in this run.
 */
function standstill(item: ProtectedItem): Shown {
  const state = standsStill(item) ? WAITING_FOR_PERSON : null;
  if (state === null && (shown[jobState.name] ?? null) === null) return {};
  return { [jobState.name]: state };
}

/** In lists, the RPO changes in steps, because each change is an event of the history. Seconds. */
const LEAST_RPO_STEP = 5;
const STEPS_A_CYCLE = 20;

/** Never zero, because a replica is always behind its source when it is shown. */
function roundedUp(seconds: number, policy: Policy): number {
  const step = Math.max(LEAST_RPO_STEP, copyFrequencyMs(policy) / 1_000 / STEPS_A_CYCLE);
  return (Math.floor(seconds / step) + 1) * step;
}

/** @param at ISO 8601. @returns the health that alerts follow. */
export function publishItem(item: ProtectedItem, at: string): Health {
  remember('protectedItem', item);
  const conditions = conditionsOf(item, at);
  const newHealth = conditions[0]?.health ?? 'Normal';
  const rpoNow = rpoSeconds(item, at);
  const before = shown[health.name];
  if (before !== undefined && before !== newHealth) {
    log.info('Replication health changed', { vm: item.vm, from: before, to: newHealth, reason: conditions[0]?.reason });
  }
  // A list can't show a ticking clock: the RPO is as of the newest cycle, or of the newest change of health.
  const rpoChanged = before !== newHealth || shownSequence !== item.shipped?.sequence;
  shownSequence = item.shipped?.sequence;
  attributes({
    [vault.name]: item.vault,
    [vm.name]: item.vm,
    [phase.name]: item.phase,
    [health.name]: newHealth,
    ...(rpoChanged && { [rpo.name]: rpoNow === undefined ? null : roundedUp(rpoNow, item.policy) }),
    ...standstill(item),
  });
  const lines = [
    `**${item.vm}** is ${phaseText[item.phase]}, active at the ${item.activeSide} site. Replication health: **${newHealth}**.`,
    '',
    ...conditions.flatMap(({ health: ill, message, remedy }) => [
      `- **${ill}**: ${inMarkdown(message)}`,
      ...(remedy === undefined ? [] : [`    - ${inMarkdown(remedy)}`]),
    ]),
  ];
  if (item.shipped)
    lines.push(
      `- Last cycle sent: ${item.shipped.sequence} (epoch ${item.epoch}), sealed at ${item.shipped.sealedAt}, ${formatBytes(item.shipped.bytes)}.`,
    );
  if (rpoNow !== undefined) lines.push(`- RPO: ${formatSeconds(rpoNow)} at ${at}.`);
  if (item.cycleDueAt && !item.paused) lines.push(`- Next cycle at ${item.cycleDueAt}.`);
  if (item.latestRecoveryPoint)
    lines.push(`- Latest recovery point: ${item.latestRecoveryPoint.time} (${item.latestRecoveryPoint.id}).`);
  if (item.drill) lines.push(`- Test VM: ${inMarkdown(drillText(item.drill))}.`);
  if (item.lastDrill) lines.push(`- Last test failover: ${inMarkdown(lastDrillText(item.lastDrill))}.`);
  if (item.job) {
    const { jobId, kind, task, progress, retry } = item.job;
    lines.push('', `Running job: ${titleOf(kind)} \`${jobId}\`${task === undefined ? '' : `, task "${task}"`}.`);
    if (progress) lines.push(progressLine(progress));
    if (retry?.nextTryAt) lines.push(laterTryText(retry.nextTryAt));
  }
  showDetails(lines);
  return alertedHealthOf(item, at);
}

export function publishJob(job: Job): void {
  remember('job', job);
  attributes({
    [vault.name]: job.vault,
    [vm.name]: job.vm,
    [jobKind.name]: job.kind,
    [jobState.name]: stateOf(job),
    ...(job.planRun !== undefined && { [planRun.name]: job.planRun }),
  });
  const lines = [`**${titleOf(job.kind)}** of ${job.vm}: ${stateOf(job)}.`, ''];
  if (job.reason !== undefined) lines.push(`Reason: ${inMarkdown(job.reason)}`);
  // Before the tasks, because the Web UI cuts off long text.
  if (job.progress) lines.push(progressLine(job.progress));
  const expected = expectedEnd(job, now());
  if (expected !== undefined) lines.push(`Expected to end at ${expected}.`);
  lines.push(
    '',
    ...job.tasks.map(
      ({ name, state, reason }) => `1. ${name}: ${state}${reason === undefined ? '' : ` (${inMarkdown(reason)})`}`,
    ),
  );
  if (job.heldBefore !== undefined)
    lines.push('', `Held before "${job.heldBefore}" until the recovery plan continues.`);
  if (job.retry) {
    const { failure, attempt, nextTryAt } = job.retry;
    const then = nextTryAt === undefined ? `Waits for \`farshore retry ${job.vm}\`.` : laterTryText(nextTryAt);
    lines.push(
      '',
      `Attempt ${attempt} of "${currentTask(job)?.name ?? ''}" failed: ${inMarkdown(failure.message)}. ${then} ${inMarkdown(failure.remedy)}`,
    );
  }
  if (job.failure) lines.push('', `Failed: ${inMarkdown(job.failure.message)}. ${inMarkdown(job.failure.remedy)}`);
  showDetails(lines);
}

export function publishPlanRun(run: PlanRun): void {
  remember('planRun', run);
  const approvals = run.steps.filter((step) => step.kind === 'manualAction' && step.state === 'Running');
  attributes({
    [vault.name]: run.vault,
    [jobKind.name]: 'recoveryPlan',
    [jobState.name]: approvals.length > 0 ? WAITING_FOR_PERSON : run.state,
    [planRun.name]: run.id,
  });
  const lines = [`**Recovery plan ${run.plan.name}** (${run.type}): ${run.state}, ${run.phase}.`, ''];
  for (const step of approvals)
    lines.push(`Waits for approval of \`${step.id}\`: ${inMarkdown(titleOfStep(step))}`, '');
  // Lists, because the Web UI does not render tables.
  for (const { title, state, done, steps } of stagesOf(run))
    lines.push(`1. ${title}: ${state}, ${done} of ${steps} done`);
  lines.push('');
  for (const group of run.plan.groups) {
    lines.push(`- ${group.name}`);
    for (const name of group.vms) {
      const machine = run.machines.find((candidate) => candidate.vm === name);
      const step = run.steps.find((one) => isMachineStep(one) && one.vm === name && one.state === 'Running');
      const parts = [
        machine?.state ?? 'unknown',
        ...(step ? [titleOfStep(step)] : []),
        ...(machine?.reason === undefined ? [] : [inMarkdown(machine.reason)]),
        ...(machine?.jobId === undefined ? [] : [`job \`${machine.jobId}\``]),
      ];
      lines.push(`    - ${name}: ${parts.join(', ')}`);
    }
  }
  if (run.failure !== undefined) lines.push('', `Stopped: ${inMarkdown(run.failure)}`);
  if (run.rtoSeconds !== undefined) lines.push('', `RTO: ${formatSeconds(run.rtoSeconds)}.`);
  showDetails(lines);
}

function stateOf(job: Job): string {
  if (job.state !== 'InProgress') return job.state;
  if (job.retry) return job.retry.nextTryAt === undefined ? WAITING_FOR_PERSON : 'WaitingForRetry';
  return job.heldBefore === undefined ? 'InProgress' : 'Held';
}

const progressLine = ({ bytesDone, bytesTotal }: { bytesDone: number; bytesTotal: number }): string =>
  `${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)} (${bytesTotal === 0 ? 100 : Math.floor((bytesDone / bytesTotal) * 100)} %).`;
