/** `status`: all VMs at a glance. */
import { Command } from 'commander';
import { boardOf, runsAtText, viewAmong, type Board, type VmRow } from '../../domain/board.js';
import type { Health } from '../../domain/health.js';
import type { Job } from '../../domain/job.js';
import { titleOf } from '../../domain/jobs/known-jobs.js';
import { formatSeconds } from '../../domain/time.js';
import { exitCodes } from '../exit-codes.js';
import { table } from '../output.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { stopSignal } from '../../workers/stop-signals.js';
import { silentProviders } from '../../temporal/silent-providers.js';
import { sourcesToAsk } from '../../local/sources-to-ask.js';
import { VaultSource } from '../watch/vault-source.js';
import { watchStatus } from '../watch/watch-status.js';
import { commonOptions, heldReplicas, outputOf, withFarshore } from './place.js';
import { positive } from './numbers.js';
import { runningJob, testFailoverValue } from './shown.js';

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
      'Shows phase, replication health, RPO and running job of every VM of the site file and of every other ' +
        'protected VM, and the remedy for each problem. The exit code is that of the worst health: 0 Normal, 1 ' +
        'Warning, 2 Critical. A VM that is not protected counts only if the vault holds a replica of it that is no longer updated, or ' +
        'if it should run at the recovery site but does not: both are Critical. --watch updates the view, with ' +
        'cycles and running jobs, until Ctrl-C or q, and then exits with 0. If standard output is not a terminal, ' +
        '--watch prints a block of text each time, or with --json one object per line.',
    )
    .option('--watch', 'keep the view updated')
    .option('--interval <seconds>', 'with --watch: how often to update', positive, DEFAULT_INTERVAL)
    .action(async ({ watch, interval }: { watch?: true; interval: number }, command: Command) => {
      if (watch) return await watchVault(command, interval);
      await withFarshore(command, async (farshore, place) => {
        const {
          site: { site },
          data,
        } = place;
        const [{ LocalSite }, { knownVms }] = await Promise.all([
          import('../../local/local-site.js'),
          import('../known-vms.js'),
        ]);
        const known = await knownVms(farshore, place);
        const at = new Date().toISOString();
        const items = new Map(known.flatMap(({ name, view }) => (view ? [[name, view.item] as const] : [])));
        const protectedVms = [...items.keys()].filter((vm) => viewAmong(items, vm, at));
        // In this order: if a replica VM is deleted in between, the store already knows.
        const local = new LocalSite(site, data);
        const replicaVms = await local.replicaStates();
        const held = await heldReplicas(site, protectedVms);
        const sourceVms = await local.sourceStates(sourcesToAsk(site, items, held));
        const siteVms = site.vms.map(({ name }) => name);
        const vault = site.vault.name;
        const silent = await silentProviders(farshore.temporal, vault, items);
        const heard = { vault, siteVms, items, held, replicaVms, sourceVms, silentProviders: silent };
        const board = boardOf({ ...heard, jobs: [], planRuns: [] }, at);
        const value = {
          vault,
          health: board.health,
          vms: board.vms.map((row) => statusOf(row, viewAmong(items, row.vm, at))),
          attention: board.attention,
          unattended: held.filter(({ asProtected }) => asProtected).map(({ vm }) => vm),
        };
        outputOf(command).result('status', value, statusText(board, items));
        process.exitCode = exitCodeOfHealth[board.health];
      });
    });
}

async function watchVault(command: Command, intervalSeconds: number): Promise<void> {
  const signal = stopSignal({ withSupervisor: false });
  const source = await VaultSource.open(command);
  const json = commonOptions(command).json ?? false;
  await watchStatus(source, { intervalMs: intervalSeconds * 1000, json, signal });
  // A pending request may be repeated for some seconds, but its answer is no longer needed.
  process.exit(exitCodes.ok);
}

function statusOf({ vm, host, phase, activeSide, health, rpoSeconds }: VmRow, view: ProtectedItemView | undefined) {
  return {
    vm,
    host,
    phase,
    activeSide,
    health,
    rpoSeconds,
    conditions: view?.conditions ?? [],
    job: view && runningJob(view.item),
    testFailover: view?.item.drill && testFailoverValue(view.item.drill),
  };
}

const jobText = ({ kind, task }: Pick<Job, 'kind'> & { task?: string | undefined }): string =>
  `${titleOf(kind)}${task === undefined ? '' : `: ${task}`}`;

function statusText({ vms, attention }: Board, items: ReadonlyMap<string, ProtectedItem>): string {
  if (vms.length === 0) return 'The site file has no VMs, and no VM is protected.';
  const rows = vms.map((row) => {
    const { vm, phase, health, rpoSeconds } = row;
    const { job, drill } = items.get(vm) ?? {};
    return [
      vm,
      phase,
      runsAtText(row),
      health ?? '-',
      rpoSeconds === undefined ? '-' : formatSeconds(rpoSeconds),
      [job, drill?.job].flatMap((each) => (each ? [jobText(each)] : [])).join('; ') || '-',
    ];
  });
  const remarks = attention.map(({ health, message, advice }) =>
    [`${health}  ${message}`, ...advice.map((line) => `  -> ${line}`)].join('\n'),
  );
  const listing = table(['VM', 'PHASE', 'RUNS AT', 'HEALTH', 'RPO', 'JOB'], rows);
  return remarks.length > 0 ? `${listing}\n\n${remarks.join('\n')}` : listing;
}
