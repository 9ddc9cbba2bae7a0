/** `status`: all VMs at a glance. */
import { Command } from 'commander';
import type { Health } from '../../domain/health.js';
import { jobTitles } from '../../domain/job.js';
import { formatSeconds } from '../../domain/time.js';
import { exitCodes } from '../exit-codes.js';
import { table } from '../output.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { stopSignal } from '../../workers/stop-signals.js';
import { VaultSource } from '../watch/vault-source.js';
import { watchStatus } from '../watch/watch-status.js';
import { commonOptions, keptReplicas, outputOf, withFarshore } from './place.js';
import { positive } from './numbers.js';

/** Seconds. */
const DEFAULT_INTERVAL = 2;

const exitCodeOfHealth: Record<Health, number> = {
  Normal: exitCodes.ok,
  Warning: exitCodes.warning,
  Critical: exitCodes.critical,
};

export function statusCommand(): Command {
  return new Command('status')
    .summary('health, RPO and running job of every VM')
    .description(
      'Shows phase, replication health, RPO and running job of every VM of the site file. Its exit code is that of the\n' +
        'worst health: 0 Normal, 1 Warning, 2 Critical. VMs that are not protected do not count, unless the vault holds a\n' +
        'replica that nobody keeps up to date any more: that is Critical.\n' +
        'With --watch it goes on showing that, with the cycles, the running jobs and what to do, until Ctrl-C or q; then its\n' +
        'exit code is 0. Where standard output is no terminal it prints a block each time, with --json an object a line.',
    )
    .option('--watch', 'show it again and again, in place')
    .option('--interval <seconds>', 'with --watch: how often to ask', positive, DEFAULT_INTERVAL)
    .action(async ({ watch, interval }: { watch?: true; interval: number }, command: Command) => {
      if (watch) return await watchVault(command, interval);
      await withFarshore(command, async (farshore, { site }) => {
        const vms = await Promise.all(
          site.site.vms.map(async ({ name }) => ({ name, view: protectedOf(await farshore.protectedItem(name)) })),
        );
        // Temporal knows nothing of these: its database was lost.
        const unattended = await keptReplicas(
          site.site,
          vms.filter(({ view }) => !view).map(({ name }) => name),
        );
        const health = worst(vms.flatMap(({ view }) => (view ? [view.health] : [])));
        const value = {
          vault: site.site.vault.name,
          health,
          vms: vms.map(({ name, view }) => statusOf(name, view)),
          unattended,
        };
        outputOf(command).result(value, `${statusText(vms)}${unattendedText(unattended)}`);
        process.exitCode = exitCodeOfHealth[unattended.length > 0 ? 'Critical' : health];
      });
    });
}

async function watchVault(command: Command, intervalSeconds: number): Promise<void> {
  const signal = stopSignal({ withSupervisor: false });
  const source = await VaultSource.open(command);
  const json = commonOptions(command).json ?? false;
  await watchStatus(source, { intervalMs: intervalSeconds * 1000, json, signal });
  // A question under way may be repeated for some seconds, and nobody waits for its answer any more.
  process.exit(exitCodes.ok);
}

/** A VM whose protection is just being enabled, or was never, has no health. */
const protectedOf = (view: ProtectedItemView | undefined) =>
  view?.item.phase === 'Unprotected' && !view.item.job ? undefined : view;

const unattendedText = (vms: readonly string[]): string =>
  vms.length === 0
    ? ''
    : `\n\nThe vault holds replicas of ${vms.join(', ')} that nobody keeps up to date: Temporal knows nothing of them.\n` +
      '  Remedy: farshore vault adopt';

const worst = (healths: readonly Health[]): Health =>
  healths.includes('Critical') ? 'Critical' : healths.includes('Warning') ? 'Warning' : 'Normal';

function statusOf(vm: string, view: ProtectedItemView | undefined) {
  if (!view) return { vm, phase: 'Unprotected' };
  const { item, health, rpoSeconds, conditions } = view;
  return {
    vm,
    phase: item.phase,
    activeSide: item.activeSide,
    health,
    rpoSeconds,
    conditions,
    job: item.job && { id: item.job.jobId, kind: item.job.kind, task: item.job.task, progress: item.job.progress },
  };
}

function statusText(vms: readonly { name: string; view: ProtectedItemView | undefined }[]): string {
  if (vms.length === 0) return 'The site file has no VMs.';
  const rows = vms.map(({ name, view }) => {
    if (!view) return [name, 'Unprotected', '-', '-', '-', '-'];
    const { item, health, rpoSeconds } = view;
    const rpo = rpoSeconds === undefined ? '-' : formatSeconds(rpoSeconds);
    const job = item.job
      ? `${jobTitles[item.job.kind]}${item.job.task === undefined ? '' : `: ${item.job.task}`}`
      : '-';
    return [name, item.phase, item.activeSide, health, rpo, job];
  });
  const remarks = vms.flatMap(({ name, view }) =>
    (view?.conditions ?? []).map(
      ({ health, message, remedy }) =>
        `${name}: ${health}: ${message}${remedy === undefined ? '' : `\n  Remedy: ${remedy}`}`,
    ),
  );
  const listing = table(['VM', 'PHASE', 'RUNS AT', 'HEALTH', 'RPO', 'JOB'], rows);
  return remarks.length > 0 ? `${listing}\n\n${remarks.join('\n')}` : listing;
}
