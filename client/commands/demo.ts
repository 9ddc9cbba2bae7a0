/** `demo`: the main job from end to end. */
import { Command } from 'commander';
import { exitCodes } from '../exit-codes.js';

interface DemoOptions {
  readonly keep?: boolean;
  readonly check?: string;
}

export function demoCommand(): Command {
  return new Command('demo')
    .summary('run the main job from end to end on this machine')
    .description(
      'Makes three VMs with real file systems, protects them while they are being written to, fails them over by a\n' +
        'recovery plan, commits, and proves that each replica disk equals its source. Takes a minute or two.',
    )
    .option('--keep', 'leave the site running, and its files in place')
    .option('--check <folder>', 'only prove again what a kept demo left in this folder')
    .action(async ({ keep = false, check }: DemoOptions, command: Command) => {
      const { json = false, data } = command.optsWithGlobals<{ json?: boolean; data?: string }>();
      // Loaded when it is needed: every other command would wait for it.
      const { checkAgain, demonstrate } = await import('../demo/demo.js');
      const ok = check === undefined ? await demonstrate(data, keep, json) : await checkAgain(check, json);
      if (!ok) process.exitCode = exitCodes.failed;
    });
}
