#!/usr/bin/env node
/** Process entry of the `farshore` command. */
import { runCommand } from './program.js';

// Warnings of Node about what libraries use are for those who build this, not for those who type it.
process.noDeprecation = true;

// `farshore vm list | head -1` is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

await runCommand(process.argv.slice(2));
// What still waits for a store that hangs would keep the process.
process.exit();
