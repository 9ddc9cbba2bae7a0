/**
 * What a vault's monitoring reports about its protected VMs, evaluated at one instant. Values that depend on the time,
 * such as the RPO, keep changing between cycles, and VMs that are no longer protected are left out.
 */
import { conditionsOf, healthOf, rpoSeconds } from './health.js';
import { jobKinds } from './jobs/known-jobs.js';
import { copyFrequencyMs } from './policy.js';
import { isProtected, type Health, type ProtectedItem } from './protected-item.js';
import { toMs } from './time.js';

/** A Prometheus gauge: its name, its help text and its samples, in base units. */
export interface Measure {
  readonly name: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What is known of a vault. Anything that has not been read yet is absent rather than reported as nothing. */
export interface VaultState {
  readonly vault: string;
  readonly items?: readonly ProtectedItem[] | undefined;
  /** When the items were read from Temporal, ISO 8601. */
  readonly readAt?: string | undefined;
  /** Number of recovery points, keyed by VM. */
  readonly points?: ReadonlyMap<string, number> | undefined;
  /** Protected replicas in the store that are no longer updated. */
  readonly unattended?: number | undefined;
  /** Number of VMs that, according to the vault, run at the recovery site but whose replica VM does not run. */
  readonly stopped?: number | undefined;
}

/** Identifies a worker; every worker reports it. */
export const workerInfo = (worker: Readonly<Record<string, string>>): Measure => ({
  name: 'farshore_worker_info',
  help: 'Role and name of this worker; always 1',
  samples: [{ labels: worker, value: 1 }],
});

const healthValues: Readonly<Record<Health, number>> = { Normal: 0, Warning: 1, Critical: 2 };

/** @param now ISO 8601. @returns all measures, including those without a sample. */
export function vaultMeasures(state: VaultState, now: string): Measure[] {
  const { vault, readAt, points, unattended, stopped } = state;
  const items = (state.items ?? []).filter(isProtected);
  const seconds = (iso: string) => toMs(iso) / 1000;
  const ofVm = ({ vm, host }: ProtectedItem) => ({ vault, vm, host });
  /** A measure with a sample for each VM that has the value. */
  const perVm = (name: string, help: string, value: (item: ProtectedItem) => number | undefined): Measure => ({
    name,
    help,
    samples: items.flatMap((item) => {
      const found = value(item);
      return found === undefined ? [] : [{ labels: ofVm(item), value: found }];
    }),
  });
  const ofVault = (name: string, help: string, value: number | undefined): Measure => ({
    name,
    help,
    samples: value === undefined ? [] : [{ labels: { vault }, value }],
  });
  return [
    perVm('farshore_replication_health', 'Replication health: 0 Normal, 1 Warning, 2 Critical', (item) => {
      return healthValues[healthOf(item, now)];
    }),
    {
      name: 'farshore_condition',
      help: 'A reason for the replication health of a VM; 1 while it lasts',
      samples: items.flatMap((item) =>
        // A VM may have the same reason twice, for example from a job and from its host; a series may occur only once.
        [
          ...new Map(conditionsOf(item, now).map(({ reason, health }) => [`${reason} ${health}`, { reason, health }])),
        ].map(([, condition]) => ({ labels: { ...ofVm(item), ...condition }, value: 1 })),
      ),
    },
    {
      name: 'farshore_vm_info',
      help: 'Phase, active side and policy of a protected VM; always 1',
      samples: items.map((item) => ({
        labels: { ...ofVm(item), phase: item.phase, active_side: item.activeSide, policy: item.policy.name },
        value: 1,
      })),
    },
    perVm(
      'farshore_last_cycle_sealed_timestamp_seconds',
      'Seal time of the newest cycle that is safe in the store, as Unix time; only for VMs that run at the primary site',
      ({ activeSide, shipped }) => (activeSide === 'primary' && shipped ? seconds(shipped.sealedAt) : undefined),
    ),
    perVm(
      'farshore_rpo_seconds',
      'Age of the newest data that is safe in the store: the loss if the primary site were lost now',
      (item) => rpoSeconds(item, now),
    ),
    perVm('farshore_copy_frequency_seconds', 'Interval at which the policy sends changes', ({ policy }) => {
      return copyFrequencyMs(policy) / 1000;
    }),
    perVm('farshore_paused', 'Whether an operator has paused replication: 0 or 1', ({ paused }) => (paused ? 1 : 0)),
    perVm(
      'farshore_latest_recovery_point_timestamp_seconds',
      'Time of the newest recovery point, as Unix time',
      ({ latestRecoveryPoint: point }) => point && seconds(point.time),
    ),
    perVm('farshore_recovery_points', 'Recovery points that the store holds', ({ vm }) => points?.get(vm)),
    {
      name: 'farshore_running_jobs',
      help: 'Running jobs by kind, including those that wait for a retry',
      samples: state.items
        ? jobKinds.map((kind) => ({
            labels: { vault, kind },
            value: items.filter(({ job }) => job?.kind === kind).length,
          }))
        : [],
    },
    ofVault(
      'farshore_unattended_replicas',
      'VMs of the site file with a protected replica in the store but no protection workflow in Temporal',
      unattended,
    ),
    ofVault(
      'farshore_stopped_replica_vms',
      'VMs that run at the recovery site according to the vault, but whose replica VM is off or does not exist',
      stopped,
    ),
    ofVault(
      'farshore_state_read_timestamp_seconds',
      'Time when the states of the VMs were last read from Temporal, as Unix time; the measures above derive from them',
      readAt === undefined ? undefined : seconds(readAt),
    ),
  ];
}
