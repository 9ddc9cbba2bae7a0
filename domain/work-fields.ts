/** The labels of a log line, which tell the work it belongs to, and of a metric, which tell the VM it counts for. */
import type { ProtectedItem } from './protected-item.js';

export interface WorkFields {
  readonly vault?: string;
  readonly vm?: string;
  readonly host?: string;
  /** ID of the job. */
  readonly job?: string;
  /** ID of the plan run. */
  readonly planRun?: string;
  readonly epoch?: number;
  /** Sequence of the cycle. */
  readonly sequence?: number;
}

/** Parses the IDs that `ids.ts` makes from names without slashes. */
export function fieldsOfWorkflow(workflowId: string): WorkFields {
  const [kind, first, second, ...rest] = workflowId.split('/');
  if (first === undefined || second === undefined) return {};
  switch (kind) {
    case 'vm':
    case 'preview':
      return { vault: first, vm: second };
    case 'job':
      // Older job IDs did not begin with the vault: job/<vm>/<kind>/<time>.
      return rest.length < 2 ? { vm: first, job: workflowId } : { vault: first, vm: second, job: workflowId };
    case 'host':
      return { vault: first, host: second };
    case 'plan':
      // Older plan run IDs did not contain the vault: plan/<plan>/<time>.
      return rest.length < 1 ? { planRun: workflowId } : { vault: first, planRun: workflowId };
    default:
      return {};
  }
}

/** From the input of an activity or job: its epoch and sequence, and its VM's host. */
export function fieldsOfInput(input: unknown): WorkFields {
  if (!isRecord(input)) return {};
  // An input may contain the VM's description in place of its name.
  const { host, vm, epoch, sequence } = isRecord(input['description']) ? { ...input['description'], ...input } : input;
  return {
    ...(typeof vm === 'string' && { vm }),
    ...(typeof host === 'string' && { host }),
    ...(typeof epoch === 'number' && { epoch }),
    ...(typeof sequence === 'number' && { sequence }),
  };
}

/** Fields of an entity; the sequence is that of the current or the next cycle. */
export const fieldsOfItem = ({ host, epoch, nextSequence }: ProtectedItem): WorkFields => ({
  host,
  epoch,
  sequence: nextSequence,
});

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
