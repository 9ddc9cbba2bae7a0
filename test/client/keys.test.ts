/** Keys and the codec server at the command line. */
import { spawn } from 'node:child_process';
import { chmod, readFile, stat } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { newKey, writeKeyFile } from '../support/key-files.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { cliPath, makeSite, Shell } from './command.js';

let shell: Shell;
let file: string;
beforeEach(async () => {
  shell = new Shell(await temporaryFolder());
  file = join(shell.folder, 'keys.yaml');
});
const withKeys = () => new Shell(shell.folder, { FARSHORE_ENCRYPTION_KEYS: file });

describe('keys', () => {
  test('new creates the file, then adds to it; use selects a key', async () => {
    const made = await shell.run('keys', 'new', '--file', 'keys.yaml');
    expect(made.code).toBe(0);
    expect(made.stdout).toContain(`export FARSHORE_ENCRYPTION_KEYS=${file}`);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const spaced = await shell.run('keys', 'new', '--file', 'my keys.yaml');
    expect(spaced.stdout).toContain(`export FARSHORE_ENCRYPTION_KEYS='${join(shell.folder, 'my keys.yaml')}'`);
    const first = (await withKeys().json('keys', 'new', '--standby')).value as { id: string; current: string };
    expect(first).toMatchObject({ file, made: false });
    expect(first.current).not.toBe(first.id);
    expect((await withKeys().json('keys', 'use', first.id)).value).toMatchObject({ file, current: first.id });
    const { keys: listed } = (await withKeys().json('keys', 'list')).value as {
      keys: { id: string; fingerprint: string }[];
    };
    expect(listed).toEqual([
      { id: first.current, fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/), inUse: false },
      { id: first.id, fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/), inUse: true },
    ]);
    expect(listed[0]!.fingerprint).not.toBe(listed[1]!.fingerprint);
    const list = await withKeys().run('keys', 'list');
    const text = await readFile(file, 'utf8');
    expect(text).toContain(`current: ${first.id}\n`);
    // What the commands print is not to be kept secret.
    for (const [, key] of text.matchAll(/: (\S{43}=)\n/g)) {
      expect(made.stdout + made.stderr + list.stdout).not.toContain(key);
    }
  });

  test.each([
    ['no file is named', ['new'], /no key file given: use --file, or set FARSHORE_ENCRYPTION_KEYS/],
    [
      'there is no such folder',
      ['new', '--file', 'none/keys.yaml'],
      /can't be written .*: name a file in an existing folder/,
    ],
    [
      'there is no such file',
      ['use', 'a', '--file', 'none.yaml'],
      /the key file does not exist\n {2}Remedy: create it/,
    ],
  ])('%s', async (_what, args, error) => {
    const { code, stderr } = await shell.run('keys', ...args);
    expect(stderr).toMatch(error);
    expect(code).toBe(3);
  });

  test('an unknown key is refused', async () => {
    await writeKeyFile(file, 'a', { a: newKey() });
    const { code, stderr } = await withKeys().run('keys', 'use', 'b');
    expect({ code, stderr }).toMatchObject({ code: 3, stderr: expect.stringContaining('has no key b; it has: a') });
  });
});

test('a key file that others may read is refused before anything starts', async () => {
  await makeSite(shell);
  await writeKeyFile(file, 'a', { a: newKey() });
  await chmod(file, 0o644);
  const { code, stderr } = await withKeys().run('up');
  expect(code).toBe(3);
  expect(stderr).toBe(
    `farshore: ${file}:1: (file): users other than its owner may access the key file (mode 0644)\n  Remedy: chmod 600 ${file}\n`,
  );
  await expect(stat(join(shell.folder, '.farshore'))).rejects.toMatchObject({ code: 'ENOENT' });
});

describe('codec-server', () => {
  test('answers pages of the given origins until it is told to end', async () => {
    await writeKeyFile(file, 'a', { a: newKey() });
    const port = await freePort();
    const origins = ['http://127.0.0.1:8233', 'http://localhost:8233'];
    const args = [cliPath, 'codec-server', '--port', `${port}`, '--ui-origin', ...origins];
    const child = spawn(process.execPath, args, { env: withKeys().env, stdio: ['ignore', 'ignore', 'pipe'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const [line] = await new Promise<string[]>((resolve) => {
      createInterface(child.stderr).once('line', (said) => resolve([said]));
    });
    expect(line).toContain(`http://127.0.0.1:${port}`);
    const ask = (origin: string) =>
      fetch(`http://127.0.0.1:${port}/decode`, { method: 'POST', body: '{"payloads":[]}', headers: { origin } });
    for (const origin of origins) expect((await ask(origin)).status).toBe(200);
    expect((await ask('http://127.0.0.1:1')).status).toBe(403);
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });

  test.each([
    ['no origin', [], /required option '--ui-origin/],
    ['an origin with a path', ['--ui-origin', 'http://127.0.0.1:8233/namespaces'], /without a path/],
    ['no port', ['--ui-origin', 'http://h', '--port', '0'], /Expected a port from 1 to 65535/],
    ['no keys', ['--ui-origin', 'http://h'], /no keys are configured here: set FARSHORE_ENCRYPTION_KEYS/],
  ])('refuses %s', async (_what, args, error) => {
    const { code, stderr } = await shell.run('codec-server', ...args);
    expect(stderr).toMatch(error);
    expect(code).toBe(3);
  });

  test('refuses a port that is in use', async () => {
    await writeKeyFile(file, 'a', { a: newKey() });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const { code, stderr } = await withKeys().run('codec-server', '--port', `${port}`, '--ui-origin', 'http://h');
    expect(stderr).toContain(`cannot listen on port ${port} of 127.0.0.1 (EADDRINUSE); choose another port`);
    expect(code).toBe(3);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
