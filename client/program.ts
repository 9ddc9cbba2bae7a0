/** The `farshore` command: its subcommands, and how it reports errors. */
import { Command, CommanderError, Help, type Option } from 'commander';
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import { cancelFailbackCommand } from './commands/cancel-failback.js';
import { cancelFailoverCommand } from './commands/cancel-failover.js';
import { changeRecoveryPointCommand } from './commands/change-recovery-point.js';
import { codecServerCommand } from './commands/codec-server.js';
import { completionCommand } from './commands/completion.js';
import { demoCommand } from './commands/demo.js';
import { doctorCommand } from './commands/doctor.js';
import { completeFailbackCommand, failbackCommand, reverseReplicateCommand } from './commands/failback.js';
import { commitCommand, failoverCommand } from './commands/failover.js';
import { helpCommand } from './commands/help.js';
import { hypervisorCommand, recoveryComputeCommand } from './commands/hypervisor.js';
import { infrastructureCommand } from './commands/infrastructure.js';
import { initCommand } from './commands/init.js';
import { jobCommand } from './commands/job.js';
import { leftoversCommand } from './commands/leftovers.js';
import { keysCommand } from './commands/keys.js';
import { planCommand } from './commands/plan.js';
import { prepareCommand } from './commands/prepare.js';
import { recoveryPointCommand } from './commands/recovery-point.js';
import { protectCommand, retryCommand, syncCommand } from './commands/replication.js';
import { resynchronizeCommand } from './commands/resynchronize.js';
import { pauseCommand, resumeCommand, setPolicyCommand } from './commands/settings.js';
import { siteCommand } from './commands/site.js';
import { statusCommand } from './commands/status.js';
import { cleanupTestFailoverCommand, testFailoverCommand } from './commands/test-failover.js';
import { unprotectCommand } from './commands/unprotect.js';
import { downCommand, upCommand } from './commands/up.js';
import { vaultCommand } from './commands/vault.js';
import { verifyCommand } from './commands/verify.js';
import { vmCommand } from './commands/vm.js';
import { openCommand } from './commands/web-ui.js';
import { workerCommand } from './commands/worker.js';
import { packageVersion } from '../config/package-files.js';
import { errorAnswer } from './error-answer.js';
import { exitCodeOf, exitCodes, exitCodesHelp, exitCodesPointer } from './exit-codes.js';
import { note, Output } from './output.js';

const firstSteps = `
First steps:
  farshore init                                    write a commented site file
  farshore site check                              check it
  farshore up                                      start everything on this machine; Ctrl-C stops it
  farshore vm list                                 in another terminal: list the VMs you can protect
  farshore protect db-01 --wait                    copy a VM to the recovery site and keep the copy up to date
  farshore status                                  health and RPO
  farshore vm show db-01                           everything about one VM, and the next command to type
  farshore failover db-01 --type planned --wait    fail it over to the recovery site
  farshore commit db-01 --wait                     make the failover permanent`;

export function program(): Command {
  const farshore = new Command('farshore')
    .description('Site recovery for Hyper-V virtual machines, orchestrated by Temporal.')
    .option('--json', 'print the answer as one JSON object on standard output; everything else goes to standard error')
    .option('--data <dir>', 'data folder of the instance (default: $FARSHORE_DATA, else .farshore)')
    .option('--site <file>', "site file (default: the running instance's, else $FARSHORE_SITE, else site.yaml)")
    .addHelpText('after', firstSteps)
    .addHelpText('afterAll', ({ command }) => (command.parent ? exitCodesPointer : exitCodesHelp))
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpCommand(false);
  const commands = [
    initCommand(),
    siteCommand(),
    upCommand(),
    downCommand(),
    statusCommand(),
    infrastructureCommand(),
    doctorCommand(),
    vmCommand(),
    protectCommand(),
    syncCommand(),
    retryCommand(),
    resynchronizeCommand(),
    pauseCommand(),
    resumeCommand(),
    setPolicyCommand(),
    verifyCommand(),
    unprotectCommand(),
    testFailoverCommand(),
    cleanupTestFailoverCommand(),
    failoverCommand(),
    changeRecoveryPointCommand(),
    cancelFailoverCommand(),
    commitCommand(),
    failbackCommand(),
    completeFailbackCommand(),
    cancelFailbackCommand(),
    reverseReplicateCommand(),
    planCommand(),
    recoveryPointCommand(),
    vaultCommand(),
    jobCommand(),
    leftoversCommand(),
    openCommand(),
    prepareCommand(),
    hypervisorCommand(),
    recoveryComputeCommand(),
    workerCommand(),
    keysCommand(),
    codecServerCommand(),
    demoCommand(),
    completionCommand(),
    helpCommand(),
  ];
  for (const command of commands) farshore.addCommand(command);
  settle(farshore);
  return farshore;
}

const plainHelp = new Help();

const optionDescription = (option: Option): string =>
  `${option.mandatory ? 'required; ' : ''}${plainHelp.optionDescription(option)}`;

/** Commands that are created separately and added later do not inherit these settings. */
function settle(command: Command): void {
  command
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, optionDescription })
    .showHelpAfterError('Run with --help for usage.');
  for (const child of command.commands) settle(child);
}

/** Runs one command and sets `process.exitCode`. @param args the arguments after `farshore`. */
export async function runCommand(args: readonly string[]): Promise<void> {
  const farshore = program();
  Output.begin();
  try {
    if (args.length === 0) farshore.outputHelp();
    else await farshore.parseAsync(args, { from: 'user' });
  } catch (error) {
    report(error);
    const wantsJson = args.slice(0, args.includes('--') ? args.indexOf('--') : undefined).includes('--json');
    if (wantsJson && process.exitCode !== exitCodes.ok) Output.error(errorAnswer(error));
  }
}

function report(error: unknown): void {
  process.exitCode = exitCodeOf(error);
  // Commander has already printed the message.
  if (error instanceof CommanderError) return;
  const message = error instanceof Error ? error.message : String(error);
  note(
    `farshore: ${process.exitCode === exitCodes.unexpected ? `unexpected: ${message} (FARSHORE_DEBUG=1 shows where)` : message}`,
  );
  if (error instanceof CatalogueError) note(`  Remedy: ${failureCatalogue[error.code].remedy}`);
  if (process.env['FARSHORE_DEBUG'] && error instanceof Error) note(stackOf(error));
}

function stackOf(error: Error): string {
  const stack = error.stack ?? error.message;
  return error.cause instanceof Error ? `${stack}\ncaused by ${stackOf(error.cause)}` : stack;
}
