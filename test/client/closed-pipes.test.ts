/** Who reads what a command says may go away, as in `farshore up 2>&1 | head`. What it serves goes on. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { freePorts } from '../../temporal/server/free-port.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { cliPath, Shell } from './command.js';

test('a command that serves others survives the reader of its standard error', async () => {
  const shell = new Shell(await temporaryFolder());
  expect(await shell.run('keys', 'new', '--file', 'keys.yaml')).toMatchObject({ code: 0 });
  const [port] = await freePorts(1);
  const args = ['codec-server', '--ui-origin', 'http://127.0.0.1:8233', '--port', `${port}`];
  const env = { ...shell.env, FARSHORE_ENCRYPTION_KEYS: 'keys.yaml' };
  const child = spawn(process.execPath, [cliPath, ...args], {
    cwd: shell.folder,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stderr.destroy();
  const answers = () =>
    fetch(`http://127.0.0.1:${port}/decode`, { method: 'OPTIONS', headers: { origin: 'http://127.0.0.1:8233' } }).then(
      ({ ok }) => ok,
      () => undefined,
    );
  while (child.exitCode === null && (await answers()) === undefined) await sleep(50);
  // What it says when it has begun meets nobody.
  await sleep(500);
  expect(child.exitCode).toBeNull();
  expect(await answers()).toBe(true);
});
