/**
 * The embedded hypervisor as a process under a supervisor: `node dist/instance/hypervisor-main.js CONFIG.json`. It
 * prints one line when it is ready, and logs JSON lines to stderr. Killing it loses nothing. On SIGTERM it closes
 * everything in order, so that a later restart of the machine requires no resynchronization.
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
  // The open listener on standard input would keep the process alive.
  process.exit(0);
}

main().catch(endWith);
