/**
 * `hypervisor` and `recovery-compute`: run the process that runs VMs at one of the sites, in the foreground, as in
 * production.
 */
import { Command } from 'commander';
import { CatalogueError } from '../../domain/errors.js';
import type { HeldReplica } from '../../domain/held-replica.js';
import { hostsOf, type Site } from '../../domain/site.js';
import type { DataFolder } from '../../config/data-folder.js';
import { loadSite } from '../../config/site-file.js';
import { RefusedError } from '../errors.js';
import { note } from '../output.js';
import { commonOptions, dataFolderOf, outputOf, siteFileOf } from './place.js';
import { unlessItHangs, waitingForStore } from './store-patience.js';

export function hypervisorCommand(): Command {
  return new Command('hypervisor')
    .summary('run the embedded hypervisor of one host')
    .description(
      'Runs the embedded hypervisor of a host with the VMs and disks of the site file. Needs no Temporal. Does ' +
        'not start a VM that runs at the recovery site according to the vault. Runs in the foreground until Ctrl-C ' +
        'or SIGTERM and prints one line when it answers; its log goes to standard error as JSON lines. It can be ' +
        'killed at any time without losing data. The workers of this machine find it through the data folder. ' +
        '`farshore up` runs its own.',
    )
    .requiredOption('--host <name>', 'name of this host in the site file')
    .addHelpText('after', '\nExample:\n  farshore hypervisor --host hv-01 --site site.yaml --data /var/lib/farshore')
    .action(({ host }: { readonly host: string }, command: Command) => runHere(command, host));
}

export function recoveryComputeCommand(): Command {
  return new Command('recovery-compute')
    .summary('run the embedded compute of the recovery site')
    .description(
      'Runs the embedded compute of the recovery site, which creates replica VMs from recovery points. Needs the ' +
        'replica store and its credentials, and no Temporal. Runs in the foreground until Ctrl-C or SIGTERM and ' +
        'prints one line when it answers; its log goes to standard error as JSON lines. It can be killed at any ' +
        'time without losing data. The workers of this machine find it through the data folder. `farshore up` runs ' +
        'its own.',
    )
    .addHelpText('after', '\nExample:\n  farshore recovery-compute --site site.yaml --data /var/lib/farshore')
    .action((_options: object, command: Command) => runHere(command));
}

/** @param host the hypervisor's host; undefined for the recovery compute. */
async function runHere(command: Command, host?: string): Promise<void> {
  const options = commonOptions(command);
  const data = dataFolderOf(options);
  const { site, file } = await loadSite(siteFileOf(options), { disks: false });
  const names = hostsOf(site).map(({ name }) => name);
  if (host !== undefined && !names.includes(host)) {
    throw new RefusedError(`the site file ${file} has no host ${host}; it has: ${names.join(', ')}`);
  }
  if (await data.isHeld()) throw await heldError(data);
  const { hostConfig, recoveryConfig } = await import('../../instance/hypervisor-configs.js');
  const { RunningHypervisor } = await import('../../instance/run-hypervisor.js');
  const who = host === undefined ? 'the recovery compute' : `the hypervisor of ${host}`;
  const started = async () => {
    const config = host === undefined ? recoveryConfig(site, data) : hostConfig(site, data, host);
    await data.make();
    await data.prepare(host === undefined ? [] : [host]);
    if (host !== undefined) await fenceFirst(site, host, data);
    const starting = RunningHypervisor.start(config);
    const running = await (host === undefined ? waitingForStore(site.vault.store, starting) : starting);
    return { running, controlSocket: config.controlSocket };
  };
  const { running, controlSocket } = await started().catch((error: unknown) => {
    throw startError(error, who);
  });
  const stopped = running.untilStopped({ withSupervisor: false });
  const told = { ...(host !== undefined && { host }), controlSocket };
  outputOf(command).result(
    host === undefined ? 'recovery-compute' : 'hypervisor',
    told,
    `${who} is ready: ${controlSocket}`,
  );
  await stopped;
}

/** If the store does not answer, this gives up soon, so that guests do not wait for long. */
async function fenceFirst(site: Site, host: string, data: DataFolder): Promise<void> {
  const [{ fenceHost }, { readHeldReplicas }] = await Promise.all([
    import('../../instance/fenced-sources.js'),
    import('../../local/local-vault.js'),
  ]);
  const held = await unlessItHangs<HeldReplica[] | undefined>(readHeldReplicas(site.vault, []), undefined);
  const { fenced, unknown } = await fenceHost(site, host, data, held);
  if (fenced.length > 0)
    note(`Not started, as they run at the recovery site according to the vault: ${fenced.join(', ')}`);
  if (unknown.length > 0) {
    note(
      `Not started: their change logs show that they were replicated, but ${data.path} has no record of them and ` +
        `${held ? 'the store has no replica of them' : 'the store does not answer'}, so they may be running at the ` +
        `recovery site: ${unknown.join(', ')}. Check that; then start each VM that should run here: farshore vm start VM`,
    );
  }
}

async function heldError(data: DataFolder): Promise<RefusedError> {
  const holder = await data.readableInstance();
  const who = holder ? ` (process ${holder.pid}, since ${holder.startedAt})` : '';
  return new RefusedError(
    `\`farshore up\`${who} holds the data folder ${data.path} and runs the hypervisors itself: stop it with ` +
      '`farshore down`, or choose another folder with --data',
  );
}

/**
 * An unusable folder or path is clear enough to operators, but scripts need a code; catalogue errors of the store have
 * one.
 */
function startError(error: unknown, who: string): unknown {
  if (error instanceof CatalogueError && error.code === 'InvalidVmState') {
    const remedy = 'end that process first, or choose another folder with --data';
    return new RefusedError(`${who} can't run: ${error.detail}; ${remedy}`, { cause: error });
  }
  // All other errors are reported unchanged.
  if (!(error instanceof Error) || error.name !== 'Error') return error;
  return new RefusedError(`${who} can't run: ${error.message}`, { cause: error });
}
