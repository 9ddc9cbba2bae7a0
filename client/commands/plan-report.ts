/** A plan run as text. */
import { currentTask, type Job } from '../../domain/job.js';
import { stagesOf } from '../../domain/plan-graph.js';
import { formatSeconds, secondsBetween } from '../../domain/time.js';
import type { PlanRun } from '../../domain/plan-run.js';
import { fields, table } from '../output.js';
import { failoverResultOf, failoverText } from './failover-report.js';
import { retryText } from './wait.js';

export function planRunTable(runs: readonly PlanRun[]): string {
  const rows = runs.map(({ startedAt, plan, type, state, phase, id }) => [
    startedAt,
    plan.name,
    type,
    `${state}: ${phase}`,
    id,
  ]);
  return table(['STARTED', 'PLAN', 'TYPE', 'STATE', 'RUN'], rows);
}

/** @param jobs known jobs of the run's machines; they show what each machine is doing. */
export function planRunText(run: PlanRun, jobs: readonly Job[]): string {
  const rows = run.plan.groups.flatMap((group) =>
    group.vms.map((vm, index) => {
      const machine = run.machines.find((candidate) => candidate.vm === vm);
      const job = jobs.find((candidate) => candidate.id === machine?.jobId);
      const now = machine?.heldBefore === undefined ? job && currentTask(job)?.name : `before "${machine.heldBefore}"`;
      const remark = machine?.reason ?? (job?.retry && retryText(job.retry));
      return [index === 0 ? group.name : '', vm, machine?.state ?? '-', remark ?? now ?? '', machine?.jobId ?? '-'];
    }),
  );
  const results = run.machines.flatMap(({ vm, result }) => {
    const parsed = failoverResultOf(result);
    return parsed ? [failoverText(vm, parsed)] : [];
  });
  const head = fields([
    ['Run', run.id],
    ['Plan', `${run.plan.name}, ${run.type} failover`],
    ['State', `${run.state}: ${run.phase}`],
    ['Started', run.startedAt],
    ['Ended', run.endedAt],
    ['RTO', run.rtoSeconds === undefined ? undefined : formatSeconds(run.rtoSeconds)],
    ['Stopped', run.failure],
  ]);
  const stages = stagesOf(run).map(({ title, state, done, steps, startedAt, endedAt }) => [
    title,
    state,
    `${done} of ${steps}`,
    startedAt === undefined || endedAt === undefined ? '-' : formatSeconds(secondsBetween(startedAt, endedAt)),
  ]);
  return [
    head,
    table(['STAGE', 'STATE', 'DONE', 'TOOK'], stages),
    table(['GROUP', 'VM', 'STATE', 'NOW', 'JOB'], rows),
    ...results,
  ].join('\n\n');
}
