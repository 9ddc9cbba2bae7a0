/** Commands that preview their job: they refuse before anything is touched, and have a dry run. */
import type { Command } from 'commander';
import type { Job, JobParameters } from '../../domain/job.js';
import type { JobPreview, PreviewedKind } from '../../domain/job-preview.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { RefusedError } from '../errors.js';
import { confirmByName } from './confirm.js';
import { followRequest, type DestructiveOptions } from './follow-request.js';
import { outputOf, withFarshore } from './place.js';
import type { ReasonOptions } from './reason.js';

export interface PreviewedOptions extends DestructiveOptions, ReasonOptions {
  readonly dryRun?: true;
}

interface PreviewedJob {
  readonly name: 'change-recovery-point' | 'cancel-failover';
  readonly kind: PreviewedKind;
  readonly parameters: JobParameters;
  /** Whether a running job of this kind does what is requested; it is then followed. */
  isSame(parameters: JobParameters | undefined): boolean;
  /** Undefined if they are unknown because of the blockers. */
  consequences(preview: JobPreview, item: ProtectedItem): string | undefined;
  successText(job: Job): string;
}

/** @throws RefusedError that names every blocker. */
export async function runPreviewed(
  vm: string,
  options: PreviewedOptions,
  command: Command,
  previewed: PreviewedJob,
): Promise<void> {
  const { name, kind, parameters } = previewed;
  await withFarshore(command, async (farshore) => {
    const view = await farshore.protectedItem(vm);
    if (!view) throw new RefusedError(`${vm}: the VM is not protected`);
    const { item } = view;
    const follow = (jobId: string) =>
      followRequest(name, vm, command, farshore, { jobId }, options, (job) => previewed.successText(job));
    const same = [item.job, ...item.pending].find((job) => job?.kind === kind && previewed.isSame(job.parameters));
    if (same && !options.dryRun) return await follow(same.jobId);
    const preview = await farshore.previewJob(vm, kind, parameters);
    const { blockers } = preview;
    const consequences = previewed.consequences(preview, item);
    if (options.dryRun) {
      outputOf(command).result(name, { vm, dryRun: true, ...preview }, dryRunText(vm, blockers, consequences));
    }
    if (blockers.length > 0) {
      throw new RefusedError(['nothing was changed', ...blockers.map((blocker) => `${vm}: ${blocker}`)].join('\n'));
    }
    if (options.dryRun) return;
    await confirmByName(consequences ?? '', vm, options.yes);
    await follow((await farshore.startJob(vm, kind, parameters)).jobId);
  });
}

/** What a dry run says. */
export function dryRunText(vm: string, blockers: readonly string[], consequences: string | undefined): string {
  return [
    ...(consequences === undefined ? [] : [consequences]),
    blockers.length === 0
      ? 'Nothing prevents this. It was a dry run: nothing was changed.'
      : `${vm}: it would be refused. It was a dry run: nothing was changed.`,
  ].join('\n');
}
