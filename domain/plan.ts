/**
 * A recovery plan: which machines fail over together, and in which order their replica VMs start. A file, which can be
 * kept in version control.
 */
import { z } from 'zod';
import { counted } from './counted.js';
import { nameSchema } from './ids.js';
import type { Finding, Site } from './site.js';

export const MAX_PLAN_MACHINES = 100;
export const MAX_PLAN_GROUPS = 7;

const groupSchema = z.strictObject({
  name: nameSchema,
  vms: z.array(nameSchema).min(1).describe('VMs of the site file. A VM can be in one group only.'),
});

export const recoveryPlanSchema = z.strictObject({
  name: nameSchema.describe('Part of the ids of its runs.'),
  groups: z
    .array(groupSchema)
    .min(1)
    .max(MAX_PLAN_GROUPS)
    .describe('In starting order: a group starts once every VM of the group before it has started.'),
});
export type RecoveryPlan = z.infer<typeof recoveryPlanSchema>;

export const planMachines = (plan: RecoveryPlan): string[] => plan.groups.flatMap((group) => group.vms);

/** How much of the VMs' names a summary shows: the Web UI has only a few lines and cuts off the rest. Characters. */
const NAMED = 100;

/** A one-line summary of a run of the plan. */
export function planSummary(plan: RecoveryPlan, type: string): string {
  const vms = planMachines(plan);
  const named = vms.join(', ');
  const which = named.length <= NAMED ? named : counted(vms.length, 'VM');
  return `Recovery plan ${plan.name}, ${type} failover of ${which}`;
}

export function checkPlan(plan: RecoveryPlan, site: Pick<Site, 'vms'>): Finding[] {
  const findings: Finding[] = [];
  const names = site.vms.map((vm) => vm.name);
  const groupOf = new Map<string, string>();
  const groups = new Set<string>();
  for (const [g, group] of plan.groups.entries()) {
    if (groups.has(group.name)) {
      findings.push({
        path: ['groups', g, 'name'],
        message: 'this name is already taken by another group',
        remedy: 'rename one of the two',
      });
    }
    groups.add(group.name);
    for (const [v, vm] of group.vms.entries()) {
      const path = ['groups', g, 'vms', v];
      if (!names.includes(vm)) {
        findings.push({ path, message: 'unknown VM', remedy: `use one of: ${names.join(', ')}` });
      }
      const other = groupOf.get(vm);
      if (other !== undefined) {
        findings.push({
          path,
          message: `this VM is already in group ${other}`,
          remedy: 'leave it in one group only',
        });
      }
      groupOf.set(vm, group.name);
    }
  }
  if (groupOf.size > MAX_PLAN_MACHINES) {
    findings.push({
      path: ['groups'],
      message: `the plan has ${groupOf.size} VMs, but at most ${MAX_PLAN_MACHINES} are supported`,
      remedy: 'split it into several plans',
    });
  }
  return findings;
}
