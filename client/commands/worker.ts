/** `worker`: one worker in the foreground, as in production. */
import { Command, Option } from 'commander';
import { hostsOf, type Site } from '../../domain/site.js';
import { configuredMetricsAddress, METRICS_VARIABLE, parseMetricsAddress } from '../../workers/metrics-address.js';
import { stopSignal } from '../../workers/stop-signals.js';
import type { Role } from '../../workers/worker.js';
import { RefusedError } from '../errors.js';
import { note } from '../output.js';
import { answerOf } from '../temporal-answer.js';
import { findPlace, givenBy } from './place.js';

const roles: readonly Role[] = ['azure', 'vmm', 'host'];

interface WorkerCommandOptions {
  readonly role: Role;
  readonly name?: string;
  readonly metrics?: string;
}

export function workerCommand(): Command {
  return new Command('worker')
    .summary('run one worker, as in production')
    .description(
      'Runs a worker in the foreground until Ctrl-C, for the Temporal that the environment configures (TEMPORAL_ADDRESS,\n' +
        'or a profile), else for the instance of the data folder. Its log is JSON lines on standard error.\n' +
        '  azure  the recovery site of a vault, and the workflows; --name is the vault, the only one there is\n' +
        '  vmm    the Provider; --name is the VMM server it is on\n' +
        '  host   the Recovery Services agent; --name is the Hyper-V host it is on',
    )
    .addOption(new Option('--role <role>', 'its role').choices(roles).makeOptionMandatory())
    .option('--name <name>', 'the vault, VMM server or host, as in the site file (default: the vault, for azure)')
    .option('--metrics <host:port>', `serve metrics for Prometheus there (default: ${METRICS_VARIABLE}, else nowhere)`)
    .action(async ({ role, name: given, metrics: wanted }: WorkerCommandOptions, command: Command) => {
      const metrics = wanted === undefined ? configuredMetricsAddress() : parseMetricsAddress(wanted, '--metrics');
      const { data, site, temporal } = await findPlace(command);
      const names = namesOf(site.site, role);
      const name = given ?? (role === 'azure' ? site.site.vault.name : undefined);
      if (name === undefined) {
        throw new RefusedError(`--name is missing: which ${role} this is; the site file has: ${names.join(', ')}`);
      }
      if (!names.includes(name)) {
        throw new RefusedError(`the site file ${site.file} has no ${role} ${name}; it has: ${names.join(', ')}`);
      }
      const { runWorker } = await import('../../workers/worker.js');
      const { connectTarget } = await import('../../temporal/connection.js');
      note(`Worker ${role} ${name} uses Temporal at ${temporal.address}; press Ctrl-C to stop it`);
      const target = connectTarget(givenBy(temporal));
      const signal = stopSignal({ withSupervisor: false });
      await runWorker({ role, name, site, data, temporal: target, metrics }, signal).catch((error: unknown) => {
        throw answerOf(error);
      });
    });
}

function namesOf(site: Site, role: Role): string[] {
  switch (role) {
    case 'azure':
      return [site.vault.name];
    case 'vmm':
      return site.vmmServers.map((server) => server.name);
    case 'host':
      return hostsOf(site).map((host) => host.name);
  }
}
