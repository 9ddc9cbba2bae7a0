/** What the shell offers at the Tab key, asked of a real one. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';
import { Shell } from './command.js';

const run = promisify(execFile);

test.each([
  [['v'], ['vm', 'verify', 'vault']],
  [
    ['vm', ''],
    ['list', 'show', 'start', 'delete-replica'],
  ],
  [['--json', 'plan', 'r'], ['run']],
  // What is typed in between is none of the command's name.
  [['failover', 'db-01', '--ty'], ['--type']],
  [['vm', 'start', 'list', '--y'], ['--yes']],
])('after "farshore %j"', async (typed, offered) => {
  const folder = await temporaryFolder();
  const { stdout: script } = await new Shell(folder).run('completion', 'bash');
  const file = join(folder, 'completion');
  await writeFile(file, `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _farshore; echo "\${COMPREPLY[@]}"\n`);
  const { stdout } = await run('bash', [file, 'farshore', ...typed]);
  expect(stdout.trim().split(' ').slice(0, offered.length)).toEqual(offered);
});
