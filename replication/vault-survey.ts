/** The content of a vault, read from the store alone. */
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import { jobSchema, type Job } from '../domain/job.js';
import { policySchema, type Policy } from '../domain/policy.js';
import {
  appliedStateSchema,
  replicaDescriptionSchema,
  vaultPaths,
  vaultStateSchema,
  type AppliedState,
  type CycleManifest,
  type DamagedRecord,
  type RecoveryPoint,
  type ReplicaDescription,
  type TestHold,
  type VaultState,
} from '../domain/vault.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { readKeptRecord } from './kept-record.js';
import { readUnlessAway } from './point-records.js';
import { readRecoveryState } from './recovery-target.js';
import { readPolicy, readVaultState } from './replica-state.js';
import { readTestHold } from './test-hold.js';
import { readRecord } from './vault-record.js';

export interface VaultVm {
  readonly vm: string;
  readonly description: ReplicaDescription;
  readonly fence: Fence;
  /** Undefined: the VM runs at the primary site. */
  readonly state: VaultState | undefined;
  readonly applied: AppliedState | undefined;
  /** The policy with which it was last replicated; undefined if no cycle has recorded one. */
  readonly policy: Policy | undefined;
  /** Cycles that are complete but not applied yet. */
  readonly received: readonly CycleManifest[];
  /** Oldest first. */
  readonly points: readonly RecoveryPoint[];
  /** Damaged records, which are left out; everything else is usable. */
  readonly damaged: readonly DamagedRecord[];
  /** Of a test VM that exists, or was left behind. */
  readonly testHold: TestHold | undefined;
  readonly jobs: { readonly count: number; readonly newest: Pick<Job, 'id'> & Partial<Job> } | undefined;
}

/** A VM of the vault that could not be read, and the reason. */
export interface UnreadableVm {
  readonly vm: string;
  readonly problem: string;
}

/** Every VM that the store describes, by name. A damaged one does not hide the others. */
export async function surveyVault(store: ReplicaStore): Promise<{ vms: VaultVm[]; unreadable: UnreadableVm[] }> {
  const vms: VaultVm[] = [];
  const unreadable: UnreadableVm[] = [];
  for (const vm of await vaultVms(store)) {
    try {
      const found = await readUnlessAway(store, vm, () => surveyVm(store, vm));
      if (found) vms.push(found);
      else unreadable.push({ vm, problem: missingDescription(vm) });
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
      unreadable.push({ vm, problem: error.message });
    }
  }
  return { vms, unreadable };
}

/** For a VM of which the store has data but no description. */
export const missingDescription = (vm: string): string =>
  `${vaultPaths.description(vm)} is missing, but its data exists`;

/** Names of all VMs of which the store has data. */
export async function vaultVms(store: RecordStore): Promise<string[]> {
  const names = await store.objects.list(vaultPaths.vms);
  return [...new Set(names.map((name) => name.slice(vaultPaths.vms.length).split('/', 1)[0]!))];
}

/**
 * Undefined if the store has no description of the VM. Damaged records are left out and named.
 * @throws CatalogueError InvalidReplicaState if it is unknown what the store has of the VM, or where it runs.
 */
export async function surveyVm(store: ReplicaStore, vm: string): Promise<VaultVm | undefined> {
  const recovery = await readRecoveryState(store, vm);
  if (!recovery) return undefined;
  const { description, fence, applied, received, points, damaged } = recovery;
  const policy = await readUnlessAway(store, vm, () => readPolicy(store, vm)).catch((error: unknown) => {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
    return { name: vaultPaths.policy(vm), problem: error.detail };
  });
  const isLost = policy !== undefined && 'problem' in policy;
  return {
    ...{ vm, description, fence, applied, received, points },
    state: await readVaultState(store, vm),
    policy: isLost ? undefined : policy,
    damaged: [...(await damagedCopies(store, description)), ...damaged, ...(isLost ? [policy] : [])],
    testHold: await readTestHold(store, vm),
    jobs: await jobsOf(store, vm),
  };
}

/** Records with a damaged copy, of which the other copy is used. */
async function damagedCopies(store: RecordStore, { vm }: ReplicaDescription): Promise<DamagedRecord[]> {
  const records = [
    [vaultPaths.description(vm), replicaDescriptionSchema],
    [vaultPaths.applied(vm), appliedStateSchema],
    [vaultPaths.state(vm), vaultStateSchema],
    [vaultPaths.policy(vm), policySchema],
  ] as const;
  const found: DamagedRecord[] = [];
  for (const [name, schema] of records) {
    const problem = await readKeptRecord(store.objects, name, schema).then(
      (record) => record?.damaged,
      () => undefined,
    );
    if (problem !== undefined) found.push({ name, problem: `${problem}; its other copy is used` });
  }
  return found;
}

/** The records of finished jobs, the newest first. Kinds of jobs that this version does not know are left out. */
export async function jobRecords(store: RecordStore, limit: number): Promise<Job[]> {
  const names = (await store.objects.list(vaultPaths.allJobs)).toSorted((a, b) => timeOf(b).localeCompare(timeOf(a)));
  const records = names
    .slice(0, limit)
    .map((name) => readRecord(store.objects, name, jobSchema).catch(() => undefined));
  return (await Promise.all(records)).filter((record) => record !== undefined);
}

export const jobRecord = (store: RecordStore, id: string): Promise<Job | undefined> =>
  readRecord(store.objects, vaultPaths.jobRecord(id), jobSchema);

/** Ids end with the time when the job was requested. */
const timeOf = (name: string): string => name.slice(name.lastIndexOf('/') + 1);

async function jobsOf(store: RecordStore, vm: string): Promise<VaultVm['jobs']> {
  const names = await store.objects.list(vaultPaths.jobs(vm));
  const newest = names.toSorted((a, b) => timeOf(a).localeCompare(timeOf(b))).at(-1);
  if (newest === undefined) return undefined;
  const id = newest.slice('jobs/'.length).replace(/\.json$/, '');
  // A record of an unknown kind is counted as well.
  const record = await readRecord(store.objects, newest, jobSchema).catch(() => undefined);
  return { count: names.length, newest: record ?? { id } };
}
