#!/usr/bin/env node
/** Process entry of the `farshore` command. */
import { runCommand } from './program.js';

// `farshore vm list | head -1` is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

await runCommand(process.argv.slice(2));
