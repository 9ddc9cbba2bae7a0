/** The check of replication: is every protected VM Normal, and is its next cycle on time? A silent host is told once. */
import {
  attentionOf,
  silentHost,
  stoppedReplica,
  unattendedReplica,
  unnamed,
  type Attention,
} from '../domain/attention.js';
import { severity, viewAmong } from '../domain/board.js';
import { overdueCycles } from '../domain/health.js';
import type { HeldReplica } from '../domain/held-replica.js';
import { hostSilence, silenceOf } from '../domain/host-silence.js';
import type { ProtectedItemView } from '../domain/item-view.js';
import { nextStep, nextStepText } from '../domain/next-step.js';
import { isProtected, type ProtectedItem } from '../domain/protected-item.js';
import { ok, type Finding } from './check.js';

/** Conditions that the silence of a host brings with it. */
const LATE: ReadonlySet<string> = new Set(['CyclesMissed', 'NotSentForLong']);

/** What was found beside what protects the VMs; left out: nobody has told. */
export interface SeenOfVms {
  /** By the vault. */
  readonly held?: readonly HeldReplica[] | undefined;
  readonly replicaVms?: ReadonlyMap<string, 'Running' | 'Off'> | undefined;
  /** See `silentHost`. */
  readonly sourceVms?: ReadonlyMap<string, 'Running' | 'Off'> | undefined;
}

/** @param items by VM. @param siteVms those that the site file names. @param at ISO 8601, by Temporal's clock. */
export function replicationFindings(
  items: ReadonlyMap<string, ProtectedItem>,
  siteVms: readonly string[],
  at: string,
  { held = [], replicaVms, sourceVms }: SeenOfVms = {},
): readonly Finding[] {
  const all = [...items.values()].filter(isProtected).toSorted((a, b) => a.vm.localeCompare(b.vm));
  const views = all.map(({ vm }) => ({ vm, view: viewAmong(items, vm, at)! }));
  const hosts = [...new Set(all.map(({ host }) => host))];
  const unheld = held.filter(({ vm }) => !all.some((item) => item.vm === vm));
  const unattended = unheld.filter(({ asProtected }) => asProtected);
  const attention = [
    ...unattended.map(({ vm }) => unattendedReplica(vm, siteVms.includes(vm))),
    ...(replicaVms
      ? [
          ...unheld.flatMap(({ vm, state }) => stoppedReplica({ vm, view: undefined }, state, replicaVms)),
          ...views.flatMap((each) => stoppedReplica(each, undefined, replicaVms)),
        ]
      : []),
    ...hosts.flatMap((host) => silenceOf(host, all) ?? []).map((silence) => silentHost(silence, views, at, sourceVms)),
    ...views.flatMap(({ view }) => ofVm(view, at)),
    ...views.flatMap(({ vm, view }) => (siteVms.includes(vm) ? [] : [unnamed(vm, view)])),
  ].toSorted((a, b) => severity[a.health] - severity[b.health]);
  if (attention.length > 0) return attention.map(finding);
  return [ok(all.length === 0 ? 'no VM is protected' : `Normal and on time: ${all.map(({ vm }) => vm).join(', ')}`)];
}

function ofVm(view: ProtectedItemView, at: string): Attention[] {
  const { item } = view;
  const isSilent = hostSilence(item) !== undefined;
  const conditions = view.conditions.filter(({ reason }) => !isSilent || !LATE.has(reason));
  const told = [
    ...attentionOf(item.vm, { ...view, conditions }, at),
    ...(isSilent || item.retry || view.conditions.some(({ reason }) => LATE.has(reason)) ? [] : overdue(item, at)),
  ];
  return told.map((one) => (one.advice.length > 0 ? one : { ...one, advice: [lookFurther(view, at)] }));
}

/** Too few cycles for a condition are missed so far, and none is being made. */
function overdue(item: ProtectedItem, at: string): Attention[] {
  const missed = overdueCycles(item, at);
  if (missed === 0) return [];
  const { vm, cycleDueAt } = item;
  const what = `${vm}: a cycle was due at ${cycleDueAt}, and is overdue (missed since: ${missed})`;
  return [{ vms: [vm], health: 'Warning', message: what, advice: [] }];
}

function lookFurther(view: ProtectedItemView, at: string): string {
  const { vm, phase, job } = view.item;
  if (phase !== 'Protected' || job) return nextStepText(nextStep(vm, view, at));
  return `farshore vm show ${vm}  (what keeps it: the other checks here, and docs/runbook.md, "The RPO rises but health stays Normal")`;
}

const finding = ({ vms, host, health, message, advice }: Attention): Finding => ({
  status: health === 'Critical' ? 'problem' : 'warning',
  message,
  remedy: advice.join('\n'),
  vms,
  ...(host !== undefined && { host }),
});
