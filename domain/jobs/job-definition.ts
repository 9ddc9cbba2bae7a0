/**
 * A kind of job: all that is to be known of it but what it does, which is the workflow of the same name. Whoever adds one
 * defines it in a file of its own, and names it among the known ones.
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
  /** Whether the VM's state allows to ask for it; left out of jobs that follow by themselves. */
  readonly allowed?: (item: ProtectedItem, gates: Gates) => Permission;
  /** It is asked for by an update that says more than that. */
  readonly hasOwnUpdate?: true;
  /** While the VM's host does not answer: it stands still, or is refused. Left out: it needs nothing of the host. */
  readonly withoutHost?: 'waits' | 'refused';
  /** It takes over from whatever runs or waits. */
  readonly takesOver?: true;
  /** What it may have left when it was closed from outside, wherever it stood. */
  readonly mayLeave?: (parameters: JobParameters | undefined) => readonly Undoing[];
  /** What is left of no former job any more once it has succeeded: done, or not wanted now. */
  readonly settles?: (parameters: JobParameters | undefined) => readonly Undoing[];
  /** Given up, it leaves a VM whose changes go on being sent. */
  readonly goesOn?: (item: ProtectedItem) => boolean;
  /**
   * @param item as it was before the job ended. @param ended what is true after any job.
   * @returns the item after it has succeeded.
   */
  readonly succeeded: (item: ProtectedItem, ended: ProtectedItem, end: JobEnd) => ProtectedItem;
  /** The job that follows by itself. @param phase of the VM after it. */
  readonly followedBy?: (phase: Phase) => string | undefined;
}

/** One that is asked for. */
export type AskedJob<K extends string = string, T extends readonly string[] = readonly string[]> = JobDefinition<K, T> &
  Required<Pick<JobDefinition, 'allowed'>>;

const definitions = new Map<string, JobDefinition>();

export function addJobKind(definition: JobDefinition): void {
  definitions.set(definition.kind, definition);
}

export const jobDefinitions = (): readonly JobDefinition[] => [...definitions.values()];

/** @throws Error of a kind that nobody has added. */
export function jobDefinition(kind: string): JobDefinition {
  const found = definitions.get(kind);
  if (!found) throw new Error(`there is no job of the kind ${kind}`);
  return found;
}

/** As the product shows it; of a kind that this version does not know, its name. */
export const titleOf = (kind: string): string => definitions.get(kind)?.title ?? kind;
