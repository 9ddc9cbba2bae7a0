/** `keys`: manages the key file with which Temporal's data is encrypted. */
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
    .summary('the keys that encrypt the data in Temporal')
    .description(
      'With FARSHORE_ENCRYPTION_KEYS set to a key file for every worker and command of a site, everything they ' +
        'store in Temporal is encrypted (AES-256-GCM): arguments, results, states and error messages. Workflow ids ' +
        'and search attributes are not encrypted: they contain the names of VMs and hosts, and their health.',
    );
  keys
    .command('new')
    .summary('create the key file, or add a key to it')
    .description(
      'Creates the key file with a new key, readable by its owner only, or adds a new key, which encrypts from ' +
        'then on. Older keys stay, to decrypt older data. Running workers load an added key automatically. If ' +
        'several machines have a copy of the file, first add the key everywhere with --standby, then use it.',
    )
    .option(...fileOption)
    .option('--standby', 'add the key, and keep encrypting with the current one')
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
          ['File', `${file}${made ? ', new: keep a copy in a safe place, as the data cannot be read without it' : ''}`],
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
    .summary('the ids of the keys, and the one in use')
    .description(
      'Lists the id and a fingerprint of each key, and says which one encrypts. Two files have the same key if its ' +
        'fingerprints are equal. Does not show the keys themselves.',
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
    .summary('encrypt with another key of the file')
    .description('Encrypts with another key of the file from now on. Workers switch to it as soon as they see it.')
    .argument('<id>', 'id of the key')
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
  throw new RefusedError(`no key file given: use --file, or set ${KEY_FILE_VARIABLE}`);
}

/** Reports errors of the operating system with their text; other errors have their own messages. */
const cannot =
  (file: string) =>
  (error: unknown): never => {
    if (error instanceof Error && 'syscall' in error) {
      const remedy = 'name a file in an existing folder that you may write to';
      throw new RefusedError(`the key file ${file} can't be written (${error.message}): ${remedy}`, { cause: error });
    }
    throw error;
  };
