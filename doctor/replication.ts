/**
 * The check of replication: is every protected VM Normal, and is its next cycle on time? A silent host is reported
 * once.
 */
import { attentionOf, type Attention } from '../domain/attention.js';
import { attentionAmong, viewAmong } from '../domain/board.js';
import { overdueCycles } from '../domain/health.js';
import type { HeldReplica } from '../domain/held-replica.js';
import { hostSilence } from '../domain/host-silence.js';
import type { ProtectedItemView } from '../domain/item-view.js';
import { nextStep, nextStepText } from '../domain/next-step.js';
import { isProtected, type ProtectedItem } from '../domain/protected-item.js';
import { ok, type Finding } from './check.js';

/** Conditions that already report late cycles. */
const LATE: ReadonlySet<string> = new Set(['CyclesMissed', 'NotSentForLong']);

/** States found apart from the protected items; undefined if unknown. */
export interface SeenOfVms {
  /** According to the vault. */
  readonly held?: readonly HeldReplica[] | undefined;
  readonly replicaVms?: ReadonlyMap<string, 'Running' | 'Off'> | undefined;
  /** See `silentHost`. */
  readonly sourceVms?: ReadonlyMap<string, 'Running' | 'Off'> | undefined;
}

/** @param items by VM. @param siteVms the VMs in the site file. @param at ISO 8601, by Temporal's clock. */
export function replicationFindings(
  items: ReadonlyMap<string, ProtectedItem>,
  siteVms: readonly string[],
  at: string,
  { held = [], replicaVms, sourceVms = new Map() }: SeenOfVms = {},
): readonly Finding[] {
  const all = [...items.values()].filter(isProtected).toSorted((a, b) => a.vm.localeCompare(b.vm));
  const views = all.map(({ vm }) => ({ vm, view: viewAmong(items, vm, at)! }));
  const unheld = held.filter(({ vm }) => !all.some((item) => item.vm === vm));
  const unprotected = unheld.map(({ vm }) => ({ vm, view: undefined }));
  const known = { views: [...unprotected, ...views], unheld, siteVms, replicaVms, sourceVms };
  const { attention } = attentionAmong(known, at, ofVm);
  if (attention.length > 0) return attention.map(finding);
  return [ok(all.length === 0 ? 'no VM is protected' : `Normal and on time: ${all.map(({ vm }) => vm).join(', ')}`)];
}

function ofVm(vm: string, view: ProtectedItemView, at: string): Attention[] {
  const { item, conditions } = view;
  const isTold = hostSilence(item) || item.retry || conditions.some(({ reason }) => LATE.has(reason));
  const told = [...attentionOf(vm, view, at), ...(isTold ? [] : overdue(item, at))];
  return told.map((one) => (one.advice.length > 0 ? one : { ...one, advice: [lookFurther(view, at)] }));
}

/** Too few cycles have been missed for a condition, and none is being made. */
function overdue(item: ProtectedItem, at: string): Attention[] {
  const missed = overdueCycles(item, at);
  if (missed === 0) return [];
  const { vm, cycleDueAt } = item;
  const what = `${vm}: the cycle due at ${cycleDueAt} is overdue, and ${missed} ${missed === 1 ? 'cycle has' : 'cycles have'} been missed`;
  return [{ vms: [vm], health: 'Warning', message: what, advice: [] }];
}

function lookFurther(view: ProtectedItemView, at: string): string {
  const { vm, phase, job } = view.item;
  if (phase !== 'Protected' || job) return nextStepText(nextStep(vm, view, at));
  return `farshore vm show ${vm}  (for the cause, see the other checks and docs/runbook.md, "The RPO rises but health stays Normal")`;
}

const finding = ({ vms, host, health, message, advice }: Attention): Finding => ({
  status: health === 'Critical' ? 'problem' : 'warning',
  message,
  remedy: advice.join('\n'),
  vms,
  ...(host !== undefined && { host }),
});
