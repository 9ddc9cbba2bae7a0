/** `farshore init`: the example, as a file to begin with. */
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { createFixedVhd } from '../../disks/vhd.js';
import { loadSite } from '../../config/site-file.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { MiB, Shell } from './command.js';

let shell: Shell;
beforeEach(async () => {
  shell = new Shell(await temporaryFolder());
});
const file = (name: string) => path.join(shell.folder, name);

test('writes a file that passes `site check` once its disks exist', async () => {
  expect(await shell.json('init')).toMatchObject({ code: 0, value: { file: file('site.yaml') } });
  const { site } = await loadSite(file('site.yaml'), { disks: false });
  for (const { path: disk, format, size = 4 * MiB } of site.vms.flatMap(({ disks }) => disks)) {
    await mkdir(path.dirname(disk), { recursive: true });
    if (format === 'vhd') await createFixedVhd(disk, size);
    else await writeFile(disk, '').then(() => truncate(disk, size));
  }
  expect(await shell.json('site', 'check')).toMatchObject({ code: 0, value: { counts: { vms: 2, disks: 3 } } });
});

test('is the example except for paths, and refers editors to the schema', async () => {
  await shell.run('init', 'mine.yaml');
  const [mine, example] = await Promise.all([
    readFile(file('mine.yaml'), 'utf8'),
    readFile('examples/site.yaml', 'utf8'),
  ]);
  const [modeline, ...rest] = mine.split('\n');
  const schema = /^# yaml-language-server: \$schema=(.*)$/.exec(modeline!)![1]!;
  expect(JSON.parse(await readFile(schema, 'utf8'))).toHaveProperty('properties.vault');
  expect(rest.join('\n')).toBe(example.split('\n').slice(1).join('\n').replaceAll('examples/site.yaml', 'mine.yaml'));
});

test('replaces nothing without --force, and leaves no other files', async () => {
  await shell.write('site.yaml', 'precious');
  const refused = await shell.run('init');
  expect(refused).toMatchObject({ code: 3, stdout: '' });
  expect(refused.stderr).toMatch(/site\.yaml already exists; name another file, or replace it with --force/);
  expect(await readFile(file('site.yaml'), 'utf8')).toBe('precious');
  expect((await shell.run('init', '--force')).code).toBe(0);
  expect(await readFile(file('site.yaml'), 'utf8')).toContain('vmmServers:');
  expect(await readdir(shell.folder)).toEqual(['site.yaml']);
});

test.each([
  ['nowhere/site.yaml', /the folder .*nowhere does not exist: create it first/],
  ['folder', /folder already exists|folder cannot be written: it is a folder/],
])('says what is wrong with %s', async (name, error) => {
  await mkdir(file('folder'));
  for (const more of [[], ['--force']]) {
    const { code, stderr } = await shell.run('init', name, ...more);
    expect(code).toBe(3);
    expect(stderr).toMatch(error);
  }
  expect(await readdir(shell.folder)).toEqual(['folder']);
});

test.each(['site', 'plan'])('`%s schema` prints the schema in the package', async (kind) => {
  const { code, stdout } = await shell.run(kind, 'schema');
  expect({ code, stdout }).toEqual({ code: 0, stdout: await readFile(`schemas/${kind}.schema.json`, 'utf8') });
});
