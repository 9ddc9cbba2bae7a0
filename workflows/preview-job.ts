/**
 * Previews a job (`preview/<vault>/<vm>/<kind>/<id>`): runs its prerequisites checks once, from the machines that would
 * do the work, and answers with what the job would do and everything that prevents it. Changes nothing.
 */
import { isCancellation } from '@temporalio/workflow';
import type { JobPreview, PreviewedKind } from '../domain/job-preview.js';
import { previewJobInputSchema, type PreviewJobInput } from './messages.js';
import { allIfThere } from './sides.js';
import { otherDisks } from './failback.js';
import { startInput } from './start-input.js';
import { failureOf } from './step-failure.js';

const previews: Record<PreviewedKind, (input: PreviewJobInput) => Promise<JobPreview>> = {
  changeRecoveryPoint: previewPointChange,
  cancelFailover: previewCancellation,
  failback: previewFailback,
};

export async function previewJob(raw: PreviewJobInput): Promise<JobPreview> {
  const input = startInput(previewJobInputSchema, raw, undefined);
  return await previews[input.kind](input);
}

async function previewPointChange({ vault, vm, host, vmmServer, parameters }: PreviewJobInput): Promise<JobPreview> {
  const { target } = allIfThere(vault, host, vmmServer);
  const wanted = parameters?.recoveryPoint ?? 'latest';
  const { blocker, answer } = await asked(() => target.checkPointChange({ vm, wanted }));
  if (!answer) return { blockers: named(blocker) };
  return 'change' in answer ? { blockers: [], pointChange: answer.change } : { blockers: [answer.refusal] };
}

async function previewCancellation({ vault, vm, host, vmmServer }: PreviewJobInput): Promise<JobPreview> {
  const sides = allIfThere(vault, host, vmmServer);
  const [provider, agent, recovery] = await Promise.all([
    asked(() => sides.sourceFabric.checkReturn({ vm })),
    asked(() => sides.source.checkSource({ vm })),
    asked(() => sides.target.checkFailoverCancellation({ vm })),
  ]);
  const blockers = named(provider.blocker, agent.blocker, recovery.blocker);
  if (!provider.answer || !recovery.answer) return { blockers };
  const { epoch: _, held: _held, ...found } = recovery.answer;
  return { blockers, cancellation: { ...found, source: provider.answer } };
}

async function previewFailback({ vault, vm, host, vmmServer }: PreviewJobInput): Promise<JobPreview> {
  const { source, target } = allIfThere(vault, host, vmmServer);
  const [replica, original, found] = await Promise.all([
    asked(() => target.checkFailback({ vm })),
    asked(() => source.checkFailbackTarget({ vm })),
    asked(() => target.checkFailoverCancellation({ vm })),
  ]);
  const blockers = named(
    replica.blocker,
    original.blocker,
    replica.answer && original.answer && otherDisks(vm, original.answer.disks, replica.answer.disks),
  );
  return { blockers, ...(found.answer && { failback: { host, replicaVm: found.answer.replicaVm } }) };
}

/** One attempt at a question, whose failure is a blocker. */
async function asked<T>(question: () => Promise<T>): Promise<{ readonly answer?: T; readonly blocker?: string }> {
  try {
    return { answer: await question() };
  } catch (error) {
    if (isCancellation(error)) throw error;
    const { message, remedy } = failureOf(error);
    return { blocker: `${message}. ${remedy}` };
  }
}

/** Each once: two sides may report the same. */
const named = (...blockers: readonly (string | undefined)[]): string[] => [
  ...new Set(blockers.filter((blocker) => blocker !== undefined)),
];
