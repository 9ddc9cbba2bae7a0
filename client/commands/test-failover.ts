/** `test-failover` and `cleanup-test-failover`. */
import { Command, Option } from 'commander';
import { testFailoverResultSchema, testVmName, type TestFailoverResult } from '../../domain/drill.js';
import { formatBytes } from '../../domain/bytes.js';
import { DEFAULT_DRILL_SECONDS } from '../../domain/drill-limits.js';
import type { Job } from '../../domain/job.js';
import type { CheckResult } from '../../domain/test-checks.js';
import { chooseTestPoint } from '../../domain/test-point.js';
import { formatSeconds } from '../../domain/time.js';
import { JobFailedError, RefusedError } from '../errors.js';
import { fields, table } from '../output.js';
import { drillDuration } from './duration.js';
import { requireAllowed } from './failover.js';
import { followRequest } from './follow-request.js';
import { withFarshore, type Place } from './place.js';
import { reasonOf, reasonOption, type ReasonOptions } from './reason.js';

interface TestOptions extends ReasonOptions {
  readonly recoveryPoint: string;
  readonly ttl: number;
  readonly wait?: true;
}

export function testFailoverCommand(): Command {
  return new Command('test-failover')
    .summary('boot a copy of a VM at the recovery site, in a network of its own')
    .description(
      'Creates the test VM VM-test at the recovery site from a recovery point and boots it, on disks of its own and ' +
        'in a network that no other VM is connected to. The VM keeps running, and its replication continues. ' +
        'End the test with `farshore cleanup-test-failover`; otherwise it is cleaned up automatically. With --wait, ' +
        'exits with 4 if the guest does not boot.',
    )
    .argument('<vm>', 'name of the VM')
    .option(
      '--recovery-point <point>',
      'latest (the newest recovery point), latest-app-consistent, or the id or name of a point. To include everything ' +
        'written until now, first run: farshore sync VM --wait',
      'latest',
    )
    .addOption(
      new Option('--ttl <duration>', 'clean up automatically after this time, such as 30m, 8h or 3d; at most 14d')
        .argParser(drillDuration)
        .default(DEFAULT_DRILL_SECONDS, `${DEFAULT_DRILL_SECONDS / 3600}h`),
    )
    .addOption(reasonOption())
    .option('--wait', 'return once the test VM has been checked, with the result')
    .addHelpText('after', '\nExample:\n  farshore test-failover db-01 --ttl 8h --wait')
    .action(async (vm: string, options: TestOptions, command: Command) => {
      const { recoveryPoint, ttl, wait } = options;
      await withFarshore(command, async (farshore, place) => {
        await requireAllowed(farshore, vm, 'testFailover');
        requireFreeName(place, vm);
        await requirePoint(place, vm, recoveryPoint);
        const accepted = await farshore.testFailover(vm, {
          recoveryPoint,
          cleanUpAfterSeconds: ttl,
          ...reasonOf(options),
        });
        let found: TestFailoverResult | undefined;
        await followRequest('test-failover', vm, command, farshore, accepted, { ...(wait && { wait }) }, (job) => {
          found = testFailoverResultOf(job);
          return found ? `${testFailoverText(vm, found)}\n\n${nextText(vm)}` : `${vm}: ${job.state}`;
        });
        if (found?.passed === false)
          throw new JobFailedError(`${vm}: the test has not passed: ${found.problem}\n  ${nextText(vm)}`);
      });
    });
}

export function cleanupTestFailoverCommand(): Command {
  return new Command('cleanup-test-failover')
    .summary('end a test failover and delete its test VM')
    .description(
      'Turns the test VM off and deletes it with everything that was written in it, and no longer keeps its recovery ' +
        'point. A test counts as passed only once it has been cleaned up. Also possible after a failover.',
    )
    .argument('<vm>', 'name of the VM, not of the test VM')
    .option('--notes <text>', 'what the test has shown; kept with the job and the VM')
    .option('--wait', 'return once it is done')
    .addHelpText('after', '\nExample:\n  farshore cleanup-test-failover db-01 --notes "all services answered" --wait')
    .action(async (vm: string, { notes, wait }: { notes?: string; wait?: true }, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const drill = (await farshore.protectedItem(vm))?.item.drill;
        const running = drill?.job ?? drill?.requested;
        const follows = running?.kind === 'cleanupTestFailover';
        if (!follows) await requireAllowed(farshore, vm, 'cleanupTestFailover');
        const accepted = follows ? running : await farshore.cleanUpTestFailover(vm, notes);
        await followRequest(
          'cleanup-test-failover',
          vm,
          command,
          farshore,
          accepted,
          { ...(wait && { wait }) },
          () => `${vm}: the test failover is cleaned up`,
        );
      });
    });
}

const nextText = (vm: string): string => `Next: farshore cleanup-test-failover ${vm} --wait`;

/** @throws RefusedError */
function requireFreeName({ site }: Place, vm: string): void {
  const testVm = testVmName(vm);
  if (!site.site.vms.some(({ name }) => name === testVm)) return;
  throw new RefusedError(
    `${vm}: its test VM would be named ${testVm}, but the site file has a VM of this name; rename that VM`,
  );
}

/** If the store can't be read from here, the job checks it. @throws CatalogueError RecoveryPointNotFound */
async function requirePoint({ site, data }: Place, vm: string, wanted: string): Promise<void> {
  const { LocalSite } = await import('../../local/local-site.js');
  const state = await new LocalSite(site.site, data).recoveryState(vm).catch(() => undefined);
  if (state) chooseTestPoint(state, wanted);
}

const checkTable = (checks: readonly CheckResult[]): string =>
  table(
    ['CHECK', 'RESULT', 'AFTER', 'TRIES'],
    checks.map(({ check, passed, problem, seconds, tries }) => [
      check,
      passed ? 'passed' : `failed: ${problem}`,
      formatSeconds(seconds),
      `${tries}`,
    ]),
  );

/** Undefined if the job was not a test failover or has no result. */
export function testFailoverResultOf({ kind, result }: Job): TestFailoverResult | undefined {
  return kind === 'testFailover' ? testFailoverResultSchema.safeParse(result).data : undefined;
}

export function testFailoverText(vm: string, result: TestFailoverResult): string {
  const { testVm, recoveryPoint, network, booted, passed, problem, seconds, checks, evidence } = result;
  return [
    `${vm} was test failed over; its replication continues.`,
    fields([
      ['Test VM', testVm],
      ['Recovery point', `${recoveryPoint.id} (${recoveryPoint.time})`],
      ['Network', `${network}, connected to no other VM`],
      ['Booted', booted ? `yes, after ${formatSeconds(seconds)}` : 'no'],
      ['Result', passed ? 'passed, once it is cleaned up' : `not passed: ${problem}`],
    ]),
    ...(checks.length > 0 ? [checkTable(checks)] : []),
    ...evidence.map(
      ({ name, bytes, sha256 }) => `Kept in the store: ${name}, ${formatBytes(bytes)}, SHA-256 ${sha256}`,
    ),
  ].join('\n');
}
