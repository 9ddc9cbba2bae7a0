/** The package, as it would be published: in an empty folder it installs, and runs a site. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { MiB, Shell } from '../client/command.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const run = promisify(execFile);

test('installs and runs in an empty folder', async () => {
  const folder = await temporaryFolder();
  const root = resolve('.');
  // It was built for the tests.
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
    cwd: root,
  });
  const [{ filename, files }] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  // What is built and tested here only is none of it.
  expect(
    files.map(({ path }) => path.split('/')[0]).filter((top) => ['test', 'bench', 'tools'].includes(top!)),
  ).toEqual([]);
  const home = join(folder, 'home');
  await mkdir(home);
  await writeFile(join(home, 'package.json'), '{ "private": true }');
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', join(folder, filename)], { cwd: home });

  const shell = new Shell(home);
  const farshore = (...args: string[]) => run('npx', ['farshore', ...args], { cwd: home, env: shell.env });
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  expect((await farshore('--version')).stdout.trim()).toBe(version);
  const vm = '{ name: db-01, host: hv-01, policy: fast, disks: [{ name: os, path: disk.raw }] }';
  await shell.write(
    'site.yaml',
    `vault: { name: v, store: { kind: embedded, path: store } }
vmmServers: [{ name: vmm-01, clouds: [{ name: c, hosts: [{ name: hv-01 }] }] }]
policies: [{ name: fast, copyFrequency: 30s }]
vms: [${vm}]
`,
  );
  await shell.writeDisk('disk.raw', 4 * MiB);
  await farshore('up', '--detach');
  try {
    expect((await farshore('protect', 'db-01', '--wait')).stdout).toContain('db-01');
    expect(JSON.parse((await farshore('status', '--json')).stdout)).toMatchObject({
      vms: [{ vm: 'db-01', phase: 'Protected' }],
    });
  } finally {
    await farshore('down');
  }
});
