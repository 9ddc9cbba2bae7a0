/** A run of a recovery plan, as it is stored and shown. */
import { z } from 'zod';
import { nameSchema } from './ids.js';
import { planMachines, recoveryPlanSchema } from './plan.js';
import { plannedGraph, planStageSchema, planStepSchema } from './plan-graph.js';

export const planMachineSchema = z.object({
  vm: nameSchema,
  requestId: z.string(),
  state: z.enum(['Asked', 'Running', 'Held', 'Succeeded', 'Failed', 'Cancelled', 'Refused']),
  jobId: z.string().optional(),
  heldBefore: z.string().optional(),
  reason: z.string().optional(),
  result: z.record(z.string(), z.unknown()).optional(),
});
export type PlanMachine = z.infer<typeof planMachineSchema>;

export const planRunSchema = z.object({
  id: z.string(),
  vault: nameSchema,
  plan: recoveryPlanSchema,
  type: z.enum(['planned']),
  state: z.enum(['InProgress', 'Succeeded', 'Failed', 'Cancelled']),
  /** What it is doing, for display. */
  phase: z.string(),
  startedAt: z.string(),
  endedAt: z.string().optional(),
  failure: z.string().optional(),
  machines: z.array(planMachineSchema),
  stages: z.array(planStageSchema),
  steps: z.array(planStepSchema),
  /** Time from the start of the run until the last machine of the last group was running. */
  rtoSeconds: z.number().optional(),
});
export type PlanRun = z.infer<typeof planRunSchema>;

/** A run at its start. @param phase what it is doing, for display. @param startedAt ISO 8601. */
export function newPlanRun(
  id: string,
  { vault, plan, type }: Pick<PlanRun, 'vault' | 'plan' | 'type'>,
  phase: string,
  startedAt: string,
): PlanRun {
  const { stages, steps } = plannedGraph(plan);
  return {
    ...{ id, vault, plan, type, state: 'InProgress', phase, startedAt },
    machines: planMachines(plan).map((vm) => ({ vm, requestId: `${id}/${vm}`, state: 'Asked' })),
    stages: [...stages],
    steps: [...steps],
  };
}
