/** `worker`: runs one worker in the foreground, as in production. */
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
    .summary('run one worker')
    .description(
      'Runs a worker in the foreground until Ctrl-C. Connects to the Temporal that the environment configures ' +
        '(TEMPORAL_ADDRESS or a profile), else to that of the instance of the data folder. Writes its log to ' +
        'standard error as JSON lines.\n\n' +
        'Roles:\n' +
        '  azure  runs the workflows and the work at the recovery site\n' +
        '  vmm    the Provider of a VMM server\n' +
        '  host   the Recovery Services agent of a Hyper-V host',
    )
    .addOption(new Option('--role <role>', 'role of the worker').choices(roles).makeOptionMandatory())
    .option('--name <name>', 'name of the vault, VMM server or host in the site file (default for azure: the vault)')
    .option(
      '--metrics <address>',
      `serve metrics for Prometheus at host:port, or at a port of 127.0.0.1 (default: $${METRICS_VARIABLE}, else none)`,
    )
    .action(async ({ role, name: given, metrics: wanted }: WorkerCommandOptions, command: Command) => {
      const metrics = wanted === undefined ? configuredMetricsAddress() : parseMetricsAddress(wanted, '--metrics');
      const { data, site, temporal } = await findPlace(command);
      const names = namesOf(site.site, role);
      const name = given ?? (role === 'azure' ? site.site.vault.name : undefined);
      if (name === undefined) {
        throw new RefusedError(`--name is missing; the site file has: ${names.join(', ')}`);
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
