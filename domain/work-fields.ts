/** What a line of a log says of the work that it belongs to, and a metric of the VM that it counts for. */
import type { ProtectedItem } from './protected-item.js';

export interface WorkFields {
  readonly vault?: string;
  readonly vm?: string;
  readonly host?: string;
  /** Id of the job. */
  readonly job?: string;
  /** Id of the plan run. */
  readonly planRun?: string;
  readonly epoch?: number;
  /** Of the cycle. */
  readonly sequence?: number;
}

/** Ids of workflows are read back here: they are made in `ids.ts`, of names without slashes. */
export function fieldsOfWorkflow(workflowId: string): WorkFields {
  const [kind, first, second, ...rest] = workflowId.split('/');
  if (first === undefined || second === undefined) return {};
  switch (kind) {
    case 'vm':
      return { vault: first, vm: second };
    case 'job':
      // Before ids of jobs began with their vault: job/<vm>/<kind>/<time>.
      return rest.length < 2 ? { vm: first, job: workflowId } : { vault: first, vm: second, job: workflowId };
    case 'host':
      return { vault: first, host: second };
    case 'plan':
      // Before ids of plan runs said their vault: plan/<plan>/<time>.
      return rest.length < 1 ? { planRun: workflowId } : { vault: first, planRun: workflowId };
    default:
      return {};
  }
}

/** What an activity or a job was told: the epoch and the sequence that it works in, and its VM's host. */
export function fieldsOfInput(input: unknown): WorkFields {
  if (!isRecord(input)) return {};
  // A VM's description stands for the VM.
  const { host, vm, epoch, sequence } = isRecord(input['description']) ? { ...input['description'], ...input } : input;
  return {
    ...(typeof vm === 'string' && { vm }),
    ...(typeof host === 'string' && { host }),
    ...(typeof epoch === 'number' && { epoch }),
    ...(typeof sequence === 'number' && { sequence }),
  };
}

/** Of an entity: its sequence is that of the cycle that is under way, or comes next. */
export const fieldsOfItem = ({ host, epoch, nextSequence }: ProtectedItem): WorkFields => ({
  host,
  epoch,
  sequence: nextSequence,
});

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
