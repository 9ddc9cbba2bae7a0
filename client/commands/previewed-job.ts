/** Commands that preview their job: all of them refuse before anything is touched, and have a dry run. */
import type { JobPreview } from '../../domain/job-preview.js';
import { RefusedError } from '../errors.js';
import type { DestructiveOptions } from './follow-request.js';
import type { ReasonOptions } from './reason.js';

export interface PreviewedOptions extends DestructiveOptions, ReasonOptions {
  readonly dryRun?: true;
}

/** @throws RefusedError that names every blocker. */
export function refuseBlocked(vm: string, { blockers }: JobPreview): void {
  if (blockers.length === 0) return;
  throw new RefusedError(['nothing was changed', ...blockers.map((blocker) => `${vm}: ${blocker}`)].join('\n'));
}

/** @param consequences undefined if they are unknown because of the blockers. */
export function dryRunText(vm: string, { blockers }: JobPreview, consequences: string | undefined): string {
  const verdict =
    blockers.length === 0
      ? 'Nothing prevents this. It was a dry run: nothing was changed.'
      : 'It would be refused. It was a dry run: nothing was changed.';
  return [
    ...(consequences === undefined ? [] : [consequences]),
    ...blockers.map((one) => `${vm}: ${one}`),
    verdict,
  ].join('\n');
}
