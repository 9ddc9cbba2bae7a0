#!/usr/bin/env node
/** Entry point of the `farshore` command. */
import { runCommand } from './program.js';

// Node's deprecation warnings about dependencies are for developers, not for users of the command.
process.noDeprecation = true;

const args = process.argv.slice(2);
/** Commands that keep working even if no one reads their output. */
const servers = ['up', 'worker', 'hypervisor', 'recovery-compute', 'codec-server'];

// `farshore vm list | head -1` is not an error, and `farshore up | head -1` leaves the instance up.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  if (!args.some((arg) => servers.includes(arg))) process.exit();
});
// Messages about progress may be lost if no one reads them.
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

await runCommand(args);
// Pending requests to a store that hangs would keep the process alive.
process.exit();
