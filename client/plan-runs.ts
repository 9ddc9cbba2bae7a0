/** Runs of recovery plans: found by the name of the plan, and cancelled. */
import type { PlanRun } from '../domain/plan-run.js';
import type { MemoKey } from '../workflows/messages.js';
import { RefusedError } from './errors.js';
import type { Farshore } from './farshore.js';

/** A run by its ID, or the newest run of the plan with that name. @throws RefusedError if there is none. */
export async function planRunNamed(farshore: Farshore, name: string): Promise<PlanRun> {
  if (name.includes('/')) return await farshore.planRun(name);
  const query = `FarshoreVault = '${farshore.site.vault.name}' AND FarshoreJob = 'recoveryPlan'`;
  const key: MemoKey = 'planRun';
  const newest = await farshore.answer(async () => {
    // Newest first.
    for await (const { workflowId, memo } of farshore.temporal.workflow.list({ query })) {
      if ((memo?.[key] as PlanRun | undefined)?.plan.name === name) return workflowId;
    }
    return undefined;
  });
  if (newest !== undefined) return await farshore.planRun(newest);
  throw new RefusedError(`there is no run of a plan ${name}; \`farshore plan list\` shows all runs`);
}

/** Asks a run to end and to undo what it can. @throws UnreachableError, RefusedError */
export async function cancelPlanRun(farshore: Farshore, { id }: PlanRun): Promise<void> {
  await farshore.answer(() => farshore.temporal.workflow.getHandle(id).cancel());
}
