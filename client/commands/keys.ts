/** `keys`: the key file, which encrypts what Temporal holds. */
import path from 'node:path';
import { Command } from 'commander';
import { shellWord } from '../../domain/shell-word.js';
import { addKey, configuredKeyFile, KEY_FILE_VARIABLE, useKey } from '../../temporal/encryption/key-file.js';
import { KeyRing } from '../../temporal/encryption/key-ring.js';
import { RefusedError } from '../errors.js';
import { fields, table } from '../output.js';
import { outputOf } from './place.js';

interface FileOption {
  readonly file?: string;
}

const fileOption = ['--file <file>', `the key file (default: $${KEY_FILE_VARIABLE})`] as const;

export function keysCommand(): Command {
  const keys = new Command('keys')
    .summary('the keys that encrypt what Temporal holds')
    .description(
      `With ${KEY_FILE_VARIABLE} set to a key file, for every worker and every command of a site, all that Temporal keeps of\n` +
        'what they tell each other is encrypted (AES-256-GCM): arguments, results, states, messages of failures. Ids of\n' +
        'workflows and search attributes are not: they hold the names of VMs and hosts, and their health.',
    );
  keys
    .command('new')
    .summary('make the key file, or add a key to it that is used from then on')
    .description(
      'Makes the key file, readable by its owner only, with a new key; or adds a new key to it, which encrypts from then on.\n' +
        'The older keys stay: they decrypt what is older. Running workers take up an added key by themselves. Where the file\n' +
        'lies on several machines, have every copy get the key first, with --standby, and then use it.',
    )
    .option(...fileOption)
    .option('--standby', 'add the key, and go on with the one in use')
    .addHelpText('after', '\nExample:\n  farshore keys new --file /etc/farshore/keys.yaml')
    .action(async (options: FileOption & { standby?: true }, command: Command) => {
      const file = fileOf(options);
      const today = new Date().toISOString().slice(0, 10);
      const { id, current, made } = await addKey(file, { standby: options.standby ?? false, today }).catch(
        cannot(file),
      );
      const isUsed = configuredKeyFile() === file;
      outputOf(command).result(
        'keys new',
        { file, id, current, made },
        fields([
          ['File', `${file}${made ? ', new: keep a copy in a safe place, as nothing can be read without it' : ''}`],
          ['New key', id],
          ['In use', current],
          [
            'Next',
            isUsed
              ? undefined
              : `export ${KEY_FILE_VARIABLE}=${shellWord(file)}    # for every worker and every command`,
          ],
        ]),
      );
    });
  keys
    .command('list')
    .summary('the ids of the keys, and which is in use')
    .description(
      'Lists the ids of the keys, which of them encrypts, and a fingerprint of each: two files agree on a key when its\n' +
        'fingerprints are the same. Nothing of the keys themselves is shown.',
    )
    .option(...fileOption)
    .action(async (options: FileOption, command: Command) => {
      const file = fileOf(options);
      const ring = await KeyRing.open(file);
      const listed = ring.ids.map((id) => {
        const fingerprint = ring.label(id)!.slice(id.length + 1);
        return { id, fingerprint, inUse: id === ring.current.id };
      });
      const rows = listed.map(({ id, fingerprint, inUse }) => [id, fingerprint, inUse ? 'in use' : 'decrypts only']);
      outputOf(command).result('keys list', { file, keys: listed }, table(['KEY', 'FINGERPRINT', 'USE'], rows));
    });
  keys
    .command('use')
    .summary('have another key of the file encrypt from now on')
    .description('Has another key of the file encrypt from now on. Workers go over to it as soon as they meet it.')
    .argument('<id>', 'of the key')
    .option(...fileOption)
    .action(async (id: string, options: FileOption, command: Command) => {
      const file = fileOf(options);
      await useKey(file, id).catch(cannot(file));
      outputOf(command).result('keys use', { file, current: id }, `Key ${id} of ${file} is in use.`);
    });
  return keys;
}

function fileOf({ file }: FileOption): string {
  const named = file ?? process.env[KEY_FILE_VARIABLE];
  if (named) return path.resolve(named);
  throw new RefusedError(`no key file is named: use --file, or set ${KEY_FILE_VARIABLE}`);
}

/** What the system says is told as it is; the rest has an error of its own. */
const cannot =
  (file: string) =>
  (error: unknown): never => {
    if (error instanceof Error && 'syscall' in error) {
      const remedy = 'name a file in a folder that is there and that you may write to';
      throw new RefusedError(`the key file ${file} can't be written (${error.message}): ${remedy}`, { cause: error });
    }
    throw error;
  };
