/** `demo`: runs the most important operations from start to end. */
import { Command, Option } from 'commander';
import type { DemoStorage } from '../demo/demo-store.js';
import { exitCodes } from '../exit-codes.js';

interface DemoOptions {
  readonly keep?: boolean;
  readonly check?: string;
  readonly storage: DemoStorage;
}

/** Where the demo keeps its replicas. */
const storages: readonly DemoStorage[] = ['embedded', 'azurite'];

export function demoCommand(): Command {
  return new Command('demo')
    .summary('protect three VMs on this machine, fail them over and back')
    .description(
      'Creates three VMs with real file systems and boots them in QEMU, if it is installed. Protects them while they ' +
        'are being written to, starts copies of them in a test failover, fails them over with a recovery plan, commits, ' +
        'fails them back, commits, and protects them again. Proves that each replica disk equals its source. Takes ' +
        'two to three minutes.',
    )
    .option('--keep', 'leave the site running and keep its files')
    .addOption(
      new Option('--storage <kind>', 'where replicas are stored: a folder, or the emulator of a storage account')
        .choices(storages)
        .default('embedded'),
    )
    .option('--check <folder>', 'do not run the demo; check the one kept in this folder again')
    .action(async ({ keep = false, check, storage }: DemoOptions, command: Command) => {
      const { json = false, data } = command.optsWithGlobals<{ json?: boolean; data?: string }>();
      // Loaded only when it is needed, because it would delay every other command.
      const { checkAgain, demonstrate } = await import('../demo/demo.js');
      const ok = check === undefined ? await demonstrate(data, { storage, keep, json }) : await checkAgain(check, json);
      if (!ok) process.exitCode = exitCodes.failed;
    });
}
