/**
 * Previews a job (`preview/<vault>/<vm>/<kind>/<id>`): runs its prerequisites checks once, from the machines that would
 * do the work, and answers with what the job would do and everything that prevents it. Changes nothing.
 */
import { isCancellation } from '@temporalio/workflow';
import type { JobPreview, PreviewedKind } from '../domain/job-preview.js';
import { previewJobInputSchema, type PreviewJobInput } from './messages.js';
import { allIfThere } from './sides.js';
import { startInput } from './start-input.js';
import { failureOf } from './step-failure.js';

type Preview = (input: PreviewJobInput, blockers: string[]) => Promise<Omit<JobPreview, 'blockers'>>;

const previews: Record<PreviewedKind, Preview> = {
  changeRecoveryPoint: previewPointChange,
  cancelFailover: previewCancellation,
};

export async function previewJob(raw: PreviewJobInput): Promise<JobPreview> {
  const input = startInput(previewJobInputSchema, raw, undefined);
  const blockers: string[] = [];
  const found = await previews[input.kind](input, blockers);
  return { blockers, ...found };
}

async function previewPointChange(
  { vault, vm, host, vmmServer, parameters }: PreviewJobInput,
  blockers: string[],
): Promise<Pick<JobPreview, 'pointChange'>> {
  const { target } = allIfThere(vault, host, vmmServer);
  const wanted = parameters?.recoveryPoint ?? 'latest';
  const checked = await found(blockers, () => target.checkPointChange({ vm, wanted }));
  if (!checked) return {};
  if ('change' in checked) return { pointChange: checked.change };
  blockers.push(checked.refusal);
  return {};
}

async function previewCancellation(
  { vault, vm, host, vmmServer }: PreviewJobInput,
  blockers: string[],
): Promise<Pick<JobPreview, 'cancellation'>> {
  const sides = allIfThere(vault, host, vmmServer);
  const [source, , atVault] = await Promise.all([
    found(blockers, () => sides.sourceFabric.checkReturn({ vm })),
    found(blockers, () => sides.source.checkSource({ vm })),
    found(blockers, () => sides.target.checkFailoverCancellation({ vm })),
  ]);
  if (!source || !atVault) return {};
  const { epoch: _, ...rest } = atVault;
  return { cancellation: { ...rest, source } };
}

/** A question whose failure is a blocker. */
async function found<T>(blockers: string[], ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (isCancellation(error)) throw error;
    const { message, remedy } = failureOf(error);
    blockers.push(`${message}. ${remedy}`);
    return undefined;
  }
}
