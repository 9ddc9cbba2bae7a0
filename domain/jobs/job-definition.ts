/**
 * A kind of job: everything about it except its steps, which are in the workflow of the same name. To add one, define
 * it in its own file and list it in known-jobs.ts.
 */
import type { JobOutcome } from '../job-outcome.js';
import type { JobParameters } from '../job.js';
import type { Gates, Permission } from '../permission.js';
import type { Phase, ProtectedItem } from '../protected-item.js';
import type { Undoing } from '../undoing.js';

export interface JobEnd {
  /** ISO 8601. */
  readonly at: string;
  readonly result: JobOutcome;
}

export interface JobDefinition<K extends string = string, T extends readonly string[] = readonly string[]> {
  readonly kind: K;
  readonly title: string;
  /** In order, with the names that the product shows. */
  readonly tasks: T;
  /** Whether the VM's state allows a request for it; absent for jobs that follow automatically. */
  readonly allowed?: (item: ProtectedItem, gates: Gates) => Permission;
  /** It is requested by an update of its own, because it has more parameters. */
  readonly hasOwnUpdate?: true;
  /** Whether the job waits or is refused while the VM's host does not answer. Absent if it does not need the host. */
  readonly withoutHost?: 'waits' | 'refused';
  /**
   * It runs beside replication and beside other jobs, because it touches neither the source nor the replica: its state
   * is in the VM's `drill`.
   */
  readonly beside?: true;
  /** It takes over from running and waiting jobs. */
  readonly takesOver?: true;
  /** Possible leftovers if it is closed from outside at any step. */
  readonly mayLeave?: (parameters: JobParameters | undefined) => readonly Undoing[];
  /** Leftovers of former jobs that its success settles: they are done, or no longer wanted. */
  readonly settles?: (parameters: JobParameters | undefined) => readonly Undoing[];
  /** Whether replication of the VM continues after the job has failed or was cancelled. */
  readonly goesOn?: (item: ProtectedItem) => boolean;
  /**
   * @param item its state before the job ended.
   * @param ended its state after any job, whatever the kind.
   * @returns the item after the job has succeeded.
   */
  readonly succeeded: (item: ProtectedItem, ended: ProtectedItem, end: JobEnd) => ProtectedItem;
  /** The job that follows automatically. @param phase phase of the VM after this job. */
  readonly followedBy?: (phase: Phase) => string | undefined;
}

/** A job that can be requested. */
export type AskedJob<K extends string = string, T extends readonly string[] = readonly string[]> = JobDefinition<K, T> &
  Required<Pick<JobDefinition, 'allowed'>>;

const definitions = new Map<string, JobDefinition>();

export function addJobKind(definition: JobDefinition): void {
  definitions.set(definition.kind, definition);
}

export const jobDefinitions = (): readonly JobDefinition[] => [...definitions.values()];

/** @throws Error for an unknown kind. */
export function jobDefinition(kind: string): JobDefinition {
  const found = definitions.get(kind);
  if (!found) throw new Error(`unknown kind of job: ${kind}`);
  return found;
}

/** The title that the product shows; for an unknown kind, its name. */
export const titleOf = (kind: string): string => definitions.get(kind)?.title ?? kind;
