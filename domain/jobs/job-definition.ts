/**
 * A kind of job: everything about it except its steps, which are the workflow of the same name. To add one, define it in a
 * file of its own and list it in known-jobs.ts.
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
  /** In order; names as the product shows them. */
  readonly tasks: T;
  /** Whether the VM's state allows a request for it; left out for jobs that follow automatically. */
  readonly allowed?: (item: ProtectedItem, gates: Gates) => Permission;
  /** It is requested by an update of its own, which carries more parameters. */
  readonly hasOwnUpdate?: true;
  /** While the VM's host does not answer, the job waits or is refused. Left out: it does not need the host. */
  readonly withoutHost?: 'waits' | 'refused';
  /** It takes over from running and waiting jobs. */
  readonly takesOver?: true;
  /** Possible leftovers when it was closed from outside, at any step. */
  readonly mayLeave?: (parameters: JobParameters | undefined) => readonly Undoing[];
  /** Leftovers of former jobs that are settled once it has succeeded: done, or no longer wanted. */
  readonly settles?: (parameters: JobParameters | undefined) => readonly Undoing[];
  /** When it is abandoned, replication of the VM continues. */
  readonly goesOn?: (item: ProtectedItem) => boolean;
  /**
   * @param item as it was before the job ended. @param ended what is true after any job.
   * @returns the item after it has succeeded.
   */
  readonly succeeded: (item: ProtectedItem, ended: ProtectedItem, end: JobEnd) => ProtectedItem;
  /** The job that follows automatically. @param phase of the VM after it. */
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

/** As the product shows it; of a kind that this version does not know, its name. */
export const titleOf = (kind: string): string => definitions.get(kind)?.title ?? kind;
