/** A storage account that takes connections and says nothing, and credentials for it that are about to end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { unlessItHangs } from '../../client/commands/store-patience.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { cliPath, makeSite, Shell } from './command.js';

const HOUR_MS = 60 * 60_000;
const SOON = { timeout: 60_000 };

let shell: Shell;
let url: string;
beforeEach(async () => {
  shell = new Shell(await temporaryFolder());
  await makeSite(shell);
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  onTestFinished(() => void silent.close());
  url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/account/vault`;
});
const sas = (endsInMs: number) => `sv=2024-11-04&sp=rcwdl&se=${new Date(Date.now() + endsInMs).toISOString()}&sig=AAAA`;

test('commands that need the store report on standard error that they wait', async () => {
  const child = spawn(process.execPath, [cliPath, 'vault', 'list', '--store', url], {
    cwd: shell.folder,
    env: { ...shell.env, FARSHORE_STORE_SAS: sas(HOUR_MS) },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => (said.stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (said.stderr += text.toString()));
  await expect.poll(() => said.stderr, SOON).toContain(`Waiting for the store in ${url} for `);
  expect(said.stdout).toBe('');
  expect(said.stderr).not.toContain('AAAA');
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  await ended;
});

test('commands that show it only in addition do without it', async () => {
  expect(await unlessItHangs(new Promise<string>(() => undefined), 'unknown')).toBe('unknown');
  expect(await unlessItHangs(Promise.reject(new Error('away')), 'unknown')).toBe('unknown');
  expect(await unlessItHangs(Promise.resolve('there'), 'unknown')).toBe('there');
});

test('doctor reports a SAS that expires soon, and no other', async () => {
  const text = await shell.read('site.yaml');
  await shell.write('site.yaml', text.replace(/kind: embedded\n +path: vault/, `kind: azure\n    url: '${url}'`));
  const examined = async (endsInMs: number) => {
    const env = { FARSHORE_STORE_SAS: sas(endsInMs), TEMPORAL_ADDRESS: '127.0.0.1:1' };
    const { stdout } = await new Shell(shell.folder, env).runAlone('doctor', '--json');
    expect(stdout).not.toContain('AAAA');
    return (JSON.parse(stdout) as { checks: { check: string; status: string; message: string }[] }).checks;
  };
  // Each waits for the store as long as doctor waits for anything.
  const [soon, late, over] = await Promise.all([48 * HOUR_MS, 30 * 24 * HOUR_MS, -HOUR_MS].map(examined));
  const credentials = (checks: typeof soon) => checks!.filter(({ check }) => check === 'Store credentials');
  const ends = expect.stringMatching(/^the SAS of FARSHORE_STORE_SAS expires in .*, at \S+Z$/);
  const remedy = expect.stringMatching(/roles azure and host; workers that read it from a file/);
  expect(credentials(soon)).toMatchObject([{ status: 'warning', message: ends, remedy }]);
  expect(credentials(late)).toMatchObject([{ status: 'ok', message: ends }]);
  expect(credentials(over)).toMatchObject([{ status: 'skipped', message: expect.stringContaining('has expired') }]);
  for (const checks of [soon, late, over]) {
    expect(checks!.find(({ check }) => check === 'Store')).toMatchObject({ status: 'problem' });
  }
});
