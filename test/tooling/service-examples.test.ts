/** The units that administrators copy start what there is. */
import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { program } from '../../client/program.js';

const folder = new URL('../../examples/systemd/', import.meta.url);

test.each(await readdir(folder))('%s', async (file) => {
  const unit = await readFile(new URL(file, folder), 'utf8');
  const [, typed] = /^ExecStart=\/usr\/bin\/env farshore (.*)$/m.exec(unit)!;
  const [name, ...rest] = typed!.split(' ');
  const command = program().commands.find((each) => each.name() === name)!;
  const options = rest.filter((word) => word.startsWith('--'));
  expect(options.filter((option) => !command.options.some(({ long }) => long === option))).toEqual([]);
  // Whoever has a name is told which.
  expect(rest.includes('%i')).toBe(file.includes('@'));
  if (options.includes('--role')) expect(file).toContain(rest[rest.indexOf('--role') + 1]);
});
