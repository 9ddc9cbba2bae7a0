/** `doctor`: checks whether everything is in place that a deployment needs. */
import { Command } from 'commander';
import { loadSite } from '../../config/site-file.js';
import { DocumentError } from '../../config/document.js';
import type { CheckResult, CheckStatus } from '../../doctor/check.js';
import type { Unknown } from '../../doctor/doctor.js';
import type { Instance } from '../../config/data-folder.js';
import type { ConnectTarget } from '../../temporal/connection.js';
import { RefusedError, UnreachableError } from '../errors.js';
import { exitCodes } from '../exit-codes.js';
import { outputFormat, painted } from '../terminal-text.js';
import { commonOptions, dataFolderOf, givenBy, outputOf, siteFileOf, temporalPlaceOf } from './place.js';

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('check a deployment: Temporal, store, workers, disks')
    .description(
      'Checks a deployment from this machine: Temporal (address, version, namespace and retention, search ' +
        'attributes, clock), the workers of each task queue and their keys, workflows that cannot make progress, ' +
        'VMs that are not Normal or whose cycles are overdue, the replica store (credentials, clock, space), and ' +
        'the disks and hypervisors of the hosts that run on this machine. Each line is ok, a warning, or a problem ' +
        'with its remedy and the place where it is configured. Skips checks that are only possible on another ' +
        'machine. Changes nothing except for an empty file that it creates and removes in the store. The exit code ' +
        'is that of the worst result: 0 ok, 1 warning, 2 problem.',
    )
    .action(async (_options: object, command: Command) => {
      const options = commonOptions(command);
      const data = dataFolderOf(options);
      const instance = (await data.isHeld()) ? await data.readableInstance() : undefined;
      const { examine } = await import('../../doctor/doctor.js');
      const { configuredKeys } = await import('../../temporal/encryption/data-converter.js');
      const { connectTarget } = await import('../../temporal/connection.js');
      const checks = await examine({
        data,
        isUp: instance !== undefined,
        keys: await documented(async () => ({ ring: await configuredKeys() })),
        site: await documented(() =>
          loadSite(options.site ?? instance?.siteFile ?? siteFileOf(options), { disks: false }),
        ),
        temporal: temporalOf(instance, () => connectTarget(givenBy(temporalPlaceOf(instance, data)))),
      });
      const worst = worstOf(checks);
      outputOf(command).result('doctor', { status: worst, checks }, checks.map(textOf).join('\n'));
      process.exitCode = { ok: exitCodes.ok, warning: exitCodes.warning, problem: exitCodes.critical }[worst];
    });
}

async function documented<T>(read: () => Promise<T>): Promise<T | Unknown> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    return { problem: `${error.file}:${error.line}: ${error.path}: ${error.problem}`, remedy: error.remedy };
  }
}

function temporalOf(instance: Instance | undefined, target: () => ConnectTarget): ConnectTarget | Unknown {
  try {
    return target();
  } catch (error) {
    if (!(error instanceof RefusedError || error instanceof UnreachableError)) throw error;
    const isNone = error instanceof UnreachableError && !instance;
    const remedy = 'set TEMPORAL_ADDRESS to the address of a Temporal server, or start a whole site with `farshore up`';
    return { problem: error.message, remedy: isNone ? remedy : 'correct the setting named above' };
  }
}

function worstOf(checks: readonly CheckResult[]): Exclude<CheckStatus, 'skipped'> {
  if (checks.some(({ status }) => status === 'problem')) return 'problem';
  return checks.some(({ status }) => status === 'warning') ? 'warning' : 'ok';
}

function textOf({ check, status, message, remedy, configuredBy }: CheckResult): string {
  const by = configuredBy === undefined ? '' : ` (configured by ${configuredBy})`;
  const line = `${painted(status.padEnd('problem'.length), outputFormat())}  ${check}: ${message}${by}`;
  return remedy === undefined ? line : `${line}\n         Remedy: ${remedy.replaceAll('\n', `\n${' '.repeat(17)}`)}`;
}
