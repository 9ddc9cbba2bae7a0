/**
 * The embedded hypervisor as a process under a supervisor: `node dist/instance/hypervisor-main.js CONFIG.json`. Prints one
 * line when it is ready; its log is JSON lines on stderr. Killed it loses nothing; asked to end (SIGTERM) it puts
 * everything down in order, so that a restart of the machine costs no resynchronization.
 */
import { readHypervisorConfig } from '../sites/hypervisor/hypervisor-config.js';
import { endWith, RunningHypervisor } from './run-hypervisor.js';

async function main(): Promise<void> {
  const file = process.argv[2];
  if (file === undefined) throw new Error('usage: hypervisor-main CONFIG.json');
  const config = await readHypervisorConfig(file);
  const running = await RunningHypervisor.start(config);
  const stopped = running.untilStopped({ withSupervisor: process.env['FARSHORE_SUPERVISED'] === '1' });
  process.stdout.write(`hypervisor ready: ${config.controlSocket}\n`);
  await stopped;
  // Standard input is being listened to and would keep the process.
  process.exit(0);
}

main().catch(endWith);
