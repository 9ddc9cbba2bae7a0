/**
 * Rebuilds the state of a VM whose protection entity is gone, from the vault's records and the hypervisor's tracking.
 * Replication continues incrementally if the logs follow the vault's newest cycle; if that is not certain, the VM is
 * marked for resynchronization.
 */
import type { Drill } from './drill.js';
import { DEFAULT_DRILL_SECONDS } from './drill-limits.js';
import type { Fence } from './fence.js';
import { jobId } from './ids.js';
import { newProtectedItem, type NewItem, type ProtectedItem } from './protected-item.js';
import type { AppliedState, CycleManifest, RecoveryPoint, ReplicaDescription, TestHold, VaultState } from './vault.js';
import { earlier, toIso, toMs } from './time.js';

/** The vault's records of a VM. */
export interface VaultFacts {
  readonly description: ReplicaDescription;
  readonly fence: Fence;
  readonly state: VaultState | undefined;
  readonly applied: AppliedState | undefined;
  /** Complete cycles that follow the applied one. */
  readonly received: readonly CycleManifest[];
  readonly points: readonly RecoveryPoint[];
  /** Of a test VM that exists, or was left behind. */
  readonly testHold?: TestHold | undefined;
}

/** The hypervisor's tracking of a VM; `unknown` if the hypervisor does not answer: the first cycle then finds out. */
export type TrackingFacts =
  | 'unknown'
  | 'none'
  | {
      readonly epoch: number;
      readonly openSequence: number;
      readonly resyncCause?: string | undefined;
      readonly lastWrites: Readonly<Record<string, number>>;
    };

export type Adoption = { readonly item: ProtectedItem } | { readonly refusal: string };

/**
 * @param at ISO 8601. @param hasLayers its hypervisor has failback layers of it that are not committed, or is starting the
 * VM in them.
 */
export function adopt(
  of: NewItem,
  vault: VaultFacts,
  tracking: TrackingFacts,
  at: string,
  hasLayers = false,
): Adoption {
  const { description, fence, state, applied, points } = vault;
  const newest = points.at(-1);
  const namedPoints = points.flatMap(({ id, tags = [] }) => tags.map((tag) => ({ tag, id })));
  const base: ProtectedItem = {
    ...newProtectedItem(of),
    ...(vault.testHold && { drill: drillOf(vault.testHold, at) }),
    epoch: Math.max(fence.epoch, description.epoch),
    ...(namedPoints.length > 0 && { namedPoints }),
    ...(newest && { latestRecoveryPoint: { id: newest.id, time: newest.time } }),
  };
  if (state) {
    const { epoch, phase, recoveryPoint: id, recoveryPointTime: time } = state;
    return {
      item: {
        ...base,
        phase,
        activeSide: 'recovery',
        epoch,
        latestRecoveryPoint: { id, time },
        // Whether the source has been told is not recorded; telling it twice does no harm.
        sourceFence: { epoch, since: at },
      },
    };
  }
  // Handed over to the primary site, and neither committed nor cancelled.
  if (hasLayers) return { item: { ...base, phase: 'FailedBack', activeSide: 'primary' } };
  const isCurrent = applied !== undefined && applied.epoch === description.epoch;
  if (!description.finalized && !isCurrent)
    return { refusal: 'its initial replication was not complete; protect it again' };
  const cause = discontinuity(vault, tracking);
  const shipped = vault.received.at(-1) ?? (isCurrent ? applied : undefined);
  return {
    item: {
      ...base,
      phase: description.finalized ? 'Protected' : 'Seeding',
      nextSequence: isCurrent ? applied.sequence + 1 : 1,
      ...(shipped && { shipped: cycleOf(shipped, at) }),
      ...(isCurrent && { applied: cycleOf(applied, at) }),
      ...(cause === undefined ? next(of, description.finalized, at) : { resync: { cause, since: at } }),
    },
  };
}

/** When it was to be cleaned up is lost: its time begins again. */
const drillOf = ({ testVm, since, of: { id, time } }: TestHold, at: string): Drill => ({
  testVm,
  since,
  tested: { testVm, network: testVm, recoveryPoint: { id, time } },
  problem: 'Temporal was lost during the test failover',
  cleanUpAt: toIso(toMs(at) + DEFAULT_DRILL_SECONDS * 1000),
});

/** The first thing to do: a cycle, or the steps that remained after the initial copy. */
const next = (
  { vault, vm }: Pick<ProtectedItem, 'vault' | 'vm'>,
  isFinalized: boolean,
  at: string,
): Pick<ProtectedItem, 'cycleDueAt' | 'pending'> => {
  if (isFinalized) return { cycleDueAt: at, pending: [] };
  const kind = 'finalizeProtection';
  return { pending: [{ requestId: `adopt/${vm}/${at}`, jobId: jobId(vault, vm, kind, at, 0), kind }] };
};

/** Why replication cannot continue incrementally; undefined when it can. */
function discontinuity(vault: VaultFacts, tracking: TrackingFacts): string | undefined {
  const { description, fence, applied, received } = vault;
  if (fence.epoch !== description.epoch)
    return `the vault was fenced by epoch ${fence.epoch}, and nothing more is known of that epoch`;
  if (applied?.epoch !== description.epoch) return 'the replica was being copied when Temporal was lost';
  if (tracking === 'unknown') return undefined;
  if (tracking === 'none') return 'the hypervisor no longer tracks the VM';
  if (tracking.resyncCause !== undefined) return tracking.resyncCause;
  if (tracking.epoch !== description.epoch) {
    return `the hypervisor tracks epoch ${tracking.epoch}, but the vault holds epoch ${description.epoch}`;
  }
  const newest = received.at(-1)?.sequence ?? applied.sequence;
  // Either the next cycle is open, or it was cut but never sent.
  if (tracking.openSequence !== newest + 1 && tracking.openSequence !== newest + 2) {
    return `the open logs belong to cycle ${tracking.openSequence}, but the vault's newest cycle is ${newest}`;
  }
  const behind = applied.disks.find(({ name, lastWrite }) => (tracking.lastWrites[name] ?? 0) < lastWrite);
  if (!behind) return undefined;
  const { name, lastWrite } = behind;
  return `disk ${name} is at write ${tracking.lastWrites[name] ?? 0}, but its replica is at write ${lastWrite}`;
}

/** @param at now; `sealedAt` may be later if the source clock ran ahead. */
const cycleOf = ({ sequence, sealedAt }: AppliedState | CycleManifest, at: string) => ({
  sequence,
  sealedAt: earlier(sealedAt, at),
  bytes: 0,
});
