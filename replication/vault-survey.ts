/** What the vault holds, read from the store alone. */
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import { jobSchema, type Job } from '../domain/job.js';
import type { Policy } from '../domain/policy.js';
import {
  vaultPaths,
  type AppliedState,
  type CycleManifest,
  type RecoveryPoint,
  type ReplicaDescription,
  type VaultState,
} from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { cyclesAfter } from './received-cycles.js';
import { listRecoveryPoints } from './recovery-points.js';
import { readApplied, readDescription, readPolicy, readVaultState } from './replica-state.js';
import { readRecord } from './vault-record.js';

export interface VaultVm {
  readonly vm: string;
  readonly description: ReplicaDescription;
  readonly fence: Fence;
  /** Undefined: it runs at the primary side. */
  readonly state: VaultState | undefined;
  readonly applied: AppliedState | undefined;
  /** It was last replicated by; undefined when no cycle has told. */
  readonly policy: Policy | undefined;
  /** Complete, and not applied yet. */
  readonly received: readonly CycleManifest[];
  /** Oldest first. */
  readonly points: readonly RecoveryPoint[];
  readonly jobs: { readonly count: number; readonly newest: Pick<Job, 'id'> & Partial<Job> } | undefined;
}

/** A VM of the vault that could not be read, and why. */
export interface UnreadableVm {
  readonly vm: string;
  readonly problem: string;
}

/** Every VM the store describes, by name. One that is damaged does not hide the others. */
export async function surveyVault(store: ReplicaStore): Promise<{ vms: VaultVm[]; unreadable: UnreadableVm[] }> {
  const vms: VaultVm[] = [];
  const unreadable: UnreadableVm[] = [];
  for (const vm of await vaultVms(store)) {
    try {
      const found = await surveyVm(store, vm);
      if (found) vms.push(found);
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
      unreadable.push({ vm, problem: error.message });
    }
  }
  return { vms, unreadable };
}

/** Names of the VMs that have a description. */
async function vaultVms(store: ReplicaStore): Promise<string[]> {
  const names = await store.listObjects(vaultPaths.vms);
  return names.flatMap((name) => {
    const vm = name.slice(vaultPaths.vms.length).split('/', 1)[0]!;
    return name === vaultPaths.description(vm) ? [vm] : [];
  });
}

/** Undefined when the store has no description of it. */
export async function surveyVm(store: ReplicaStore, vm: string): Promise<VaultVm | undefined> {
  const description = await readDescription(store, vm);
  if (!description) return undefined;
  const applied = await readApplied(store, vm);
  const { epoch } = description;
  const state = { epoch, sequence: applied?.epoch === epoch ? applied.sequence : 0 };
  return {
    vm,
    description,
    fence: await store.readFence(vaultPaths.vm(vm)),
    state: await readVaultState(store, vm),
    applied,
    policy: await readPolicy(store, vm),
    received: await cyclesAfter(store, vm, state),
    points: await listRecoveryPoints(store, vm),
    jobs: await jobsOf(store, vm),
  };
}

/** The records of finished jobs, the newest first. One of a kind this version does not know is left out. */
export async function jobRecords(store: ReplicaStore, limit: number): Promise<Job[]> {
  const names = (await store.listObjects(vaultPaths.allJobs)).toSorted((a, b) => timeOf(b).localeCompare(timeOf(a)));
  const records = names.slice(0, limit).map((name) => readRecord(store, name, jobSchema).catch(() => undefined));
  return (await Promise.all(records)).filter((record) => record !== undefined);
}

export const jobRecord = (store: ReplicaStore, id: string): Promise<Job | undefined> =>
  readRecord(store, vaultPaths.jobRecord(id), jobSchema);

/** Ids end with the time the job was asked for. */
const timeOf = (name: string): string => name.slice(name.lastIndexOf('/') + 1);

async function jobsOf(store: ReplicaStore, vm: string): Promise<VaultVm['jobs']> {
  const names = await store.listObjects(vaultPaths.jobs(vm));
  const newest = names.toSorted((a, b) => timeOf(a).localeCompare(timeOf(b))).at(-1);
  if (newest === undefined) return undefined;
  const id = newest.slice('jobs/'.length).replace(/\.json$/, '');
  // A record of a kind this version does not know is counted all the same.
  const record = await readRecord(store, newest, jobSchema).catch(() => undefined);
  return { count: names.length, newest: record ?? { id } };
}
