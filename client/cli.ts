#!/usr/bin/env node
/** Process entry of the `farshore` command. */
import { runCommand } from './program.js';

// Warnings of Node about what libraries use are for those who build this, not for those who type it.
process.noDeprecation = true;

const args = process.argv.slice(2);
/** Commands that keep working even if no one reads their output. */
const servers = ['up', 'worker', 'hypervisor', 'recovery-compute', 'codec-server'];

// `farshore vm list | head -1` is not an error, and `farshore up | head -1` leaves the instance up.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  if (!args.some((arg) => servers.includes(arg))) process.exit();
});
// What is said on the way can be missed.
process.stderr.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

await runCommand(args);
// What still waits for a store that hangs would keep the process.
process.exit();
