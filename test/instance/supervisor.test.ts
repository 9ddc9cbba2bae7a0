/** One process that can't be started again harms no other, nor the supervisor. */
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { Supervisor } from '../../instance/supervisor.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const run = promisify(execFile);

let folder: string;
let events: string[];
let supervisor: Supervisor;

beforeEach(async () => {
  folder = await temporaryFolder();
  events = [];
  supervisor = new Supervisor((line) => events.push(line));
  onTestFinished(() => supervisor.stop());
});

const logOf = (name: string) => path.join(folder, `${name}.log`);

/** A program that says where it runs and lives until it is told to end. */
async function start(name: string): Promise<string> {
  const command = path.join(folder, name);
  await writeFile(command, '#!/bin/sh\necho started\nexec sleep 600\n');
  await chmod(command, 0o755);
  await supervisor.start({ name, command, args: [], logFile: logOf(name), ready: () => Promise.resolve() });
  return command;
}

async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(20);
}

/** Kills it, and waits until it has been started again. */
async function restarted(name: string): Promise<void> {
  const before = supervisor.pid(name)!;
  process.kill(before, 'SIGKILL');
  await until(() => ![before, undefined].includes(supervisor.pid(name)));
}

test('a process that dies is restarted with the same log', async () => {
  const logHolds = async (text: string) => {
    while ((await readFile(logOf('agent'), 'utf8')) !== text) await sleep(20);
  };
  await start('agent');
  await logHolds('started\n');
  await restarted('agent');
  await logHolds('started\nstarted\n');
});

test('a restarted process gets its first environment, whatever happens to that of the supervisor', async () => {
  const command = path.join(folder, 'worker');
  await writeFile(command, '#!/bin/sh\necho "at $FARSHORE_TEST_PLACE"\nexec sleep 600\n');
  await chmod(command, 0o755);
  process.env['FARSHORE_TEST_PLACE'] = 'home';
  const spec = { name: 'worker', command, args: [], logFile: logOf('worker'), ready: () => Promise.resolve() };
  await supervisor.start(spec).finally(() => delete process.env['FARSHORE_TEST_PLACE']);
  const logHolds = async (text: string) => {
    while ((await readFile(logOf('worker'), 'utf8')) !== text) await sleep(20);
  };
  await logHolds('at home\n');
  await restarted('worker');
  await logHolds('at home\nat home\n');
});

test('a restart is prepared first, and happens even if that fails', async () => {
  const command = path.join(folder, 'hypervisor');
  await writeFile(command, '#!/bin/sh\necho started\nexec sleep 600\n');
  await chmod(command, 0o755);
  const logs: string[] = [];
  const beforeRestart = async () => {
    logs.push(await readFile(logOf('hypervisor'), 'utf8'));
    throw new Error('no store');
  };
  const spec = { name: 'hypervisor', command, args: [], logFile: logOf('hypervisor'), beforeRestart };
  await supervisor.start({ ...spec, ready: () => Promise.resolve() });
  while ((await readFile(logOf('hypervisor'), 'utf8')) === '') await sleep(20);
  expect(logs).toEqual([]);
  await restarted('hypervisor');
  expect(logs).toEqual(['started\n']);
  expect(events).toContain('hypervisor starts without its preparation: no store');
});

test.each([
  ['a folder', () => mkdir(logOf('agent'))],
  ['a named pipe that nobody reads', () => run('mkfifo', [logOf('agent')])],
])('a log that can no longer be opened, as %s is in its place, costs the log alone', async (_what, put) => {
  await start('agent');
  await start('hypervisor');
  const hypervisor = supervisor.pid('hypervisor')!;
  await rm(logOf('agent'));
  await put();
  await restarted('agent');
  expect(events.filter((line) => line.startsWith('agent runs without a log: '))).toHaveLength(1);
  process.kill(hypervisor, 0);
});

test('a program that is missing for a while is started when it is back', async () => {
  const command = await start('agent');
  await start('hypervisor');
  const hypervisor = supervisor.pid('hypervisor')!;
  await rename(command, `${command}.away`);
  process.kill(supervisor.pid('agent')!, 'SIGKILL');
  await until(() => events.some((line) => /^agent ended \(.*ENOENT/.test(line)));
  await rename(`${command}.away`, command);
  await until(() => supervisor.pid('agent') !== undefined);
  process.kill(hypervisor, 0);
});

test('a process that cannot be started at first is an error, and leaves nothing', async () => {
  const none = path.join(folder, 'none');
  const spec = {
    name: 'none',
    command: none,
    args: [],
    logFile: logOf('none'),
    ready: () => new Promise<void>(() => {}),
  };
  await expect(supervisor.start(spec)).rejects.toThrow(/none ended during startup \(.*ENOENT.*; see /);
});
