/** `init`: writes a site file to start from. */
import { randomUUID } from 'node:crypto';
import { link, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { Command } from 'commander';
import { shellWord } from '../../domain/shell-word.js';
import { schemaFile } from '../../config/document-schemas.js';
import { packageFile } from '../../config/package-files.js';
import { RefusedError } from '../errors.js';
import { commonOptions, outputOf, siteFileOf } from './place.js';

const EXAMPLE = 'examples/site.yaml';

export function initCommand(): Command {
  return new Command('init')
    .summary('write a commented site file')
    .description(
      'Writes a site file that explains every field, the same as examples/site.yaml. Editors that know YAML ' +
        'schemas complete and check it. Put in your own names and disks, then run `farshore site check`.',
    )
    .argument('[file]', 'file to write (default: --site, else $FARSHORE_SITE, else site.yaml)')
    .option('--force', 'replace an existing file')
    .addHelpText('after', '\nExample:\n  farshore init site.yaml')
    .action(async (name: string | undefined, { force = false }: { force?: boolean }, command: Command) => {
      const file = path.resolve(name ?? siteFileOf(commonOptions(command)));
      await writeWhole(file, await contentFor(file), force);
      const next = `farshore site check --site ${shellWord(path.relative('.', file))}`;
      outputOf(command).result(
        'init',
        { file, next },
        `Wrote ${file}. Put your VMM servers, hosts, networks and VMs into it.\nNext: ${next}`,
      );
    });
}

async function contentFor(file: string): Promise<string> {
  const example = await readFile(packageFile(EXAMPLE), 'utf8');
  const schema = packageFile(schemaFile('site'));
  return example.replace(/(?<=\$schema=).*/, schema).replaceAll(EXAMPLE, path.basename(file));
}

/** Writes the file completely or not at all. @throws RefusedError if the file exists or can't be written. */
async function writeWhole(file: string, content: string, replace: boolean): Promise<void> {
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.${randomUUID()}`);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // Creating a link checks in the same step that no file has the name.
    await (replace ? rename(temporary, file) : link(temporary, file));
  } catch (error) {
    throw refusal(file, error as NodeJS.ErrnoException);
  } finally {
    await rm(temporary, { force: true });
  }
}

function refusal(file: string, error: NodeJS.ErrnoException): RefusedError {
  const { code } = error;
  if (code === 'EEXIST') {
    return new RefusedError(`${file} already exists; name another file, or replace it with --force`, {
      cause: error,
    });
  }
  const problem =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? `the folder ${path.dirname(file)} does not exist: create it first`
      : code === 'EISDIR'
        ? 'it is a folder: name a file in it'
        : `${error.message}: name a file that can be written`;
  return new RefusedError(`${file} cannot be written: ${problem}`, { cause: error });
}
