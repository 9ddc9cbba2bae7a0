import { spawn } from 'node:child_process';
import { chmod, mkdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { DamagedInstanceError, DataFolder } from '../../config/data-folder.js';
import { clearUpAfter } from '../../instance/left-over-server.js';
import { temporaryFolder } from '../support/temporary-folder.js';

async function dataFolder(): Promise<{ readonly data: DataFolder; readonly sockets: string }> {
  const data = new DataFolder(await temporaryFolder());
  const sockets = path.dirname(data.recoveryNbd());
  onTestFinished(() => rm(sockets, { recursive: true, force: true }));
  return { data, sockets };
}
const modeOf = async (file: string) => (await stat(file)).mode & 0o777;

test("the sockets' folders are for this user only, also where one was left that was not", async () => {
  const { data, sockets } = await dataFolder();
  await mkdir(sockets);
  await chmod(sockets, 0o777);
  await data.prepare(['h1']);
  for (const folder of [sockets, data.hypervisorNbd('h1'), data.recoveryNbd()])
    expect(await modeOf(folder)).toBe(0o700);
});

test.each([
  ['a link to a folder', (at: string) => symlink(path.dirname(at), at)],
  ['a file', (at: string) => writeFile(at, '')],
])('what somebody else may have put in their place is refused: %s', async (_what, put) => {
  const { data, sockets } = await dataFolder();
  await put(sockets);
  await expect(data.prepare(['h1'])).rejects.toThrow(
    `${sockets}, the folder for the sockets of this instance, does not belong`,
  );
});

const instance = (pid: number) => ({
  ...{ pid, siteFile: '/site.yaml', vault: 'v1', startedAt: '2026-01-01T00:00:00.000Z' },
  temporal: { address: '127.0.0.1:1', namespace: 'farshore' },
});

test.each(['', '{"pid":', '{"pid": "one"}', '[]'])(
  'an instance file of %j is named, with the way out',
  async (text) => {
    const { data } = await dataFolder();
    const file = path.join(data.path, 'instance.json');
    await writeFile(file, text);
    await expect(data.readInstance()).rejects.toThrow(DamagedInstanceError);
    await expect(data.readInstance()).rejects.toThrow(
      /instance\.json.* can't be read: .*\n {2}Remedy: `farshore down`/,
    );
    expect(await data.readableInstance()).toBeUndefined();
    // Whoever holds the folder is found all the same.
    const hold = await data.hold();
    expect(await data.holder()).toBe(process.pid);
    await hold.close();
    expect(await clearUpAfter(data)).toBe(true);
    expect(await data.readInstance()).toBeUndefined();
    await data.writeInstance(instance(1));
    expect(await data.readInstance()).toEqual(instance(1));
  },
);

test('a Temporal server that an instance with a damaged file has left is ended', async () => {
  const { data } = await dataFolder();
  const server = spawn('sh', ['-c', 'sleep 600; true', data.temporalDatabase()]);
  const ended = new Promise((resolve) => server.once('exit', (_code, signal) => resolve(signal)));
  await writeFile(path.join(data.path, 'instance.json'), '');
  expect(await clearUpAfter(data)).toBe(true);
  expect(await ended).toBe('SIGTERM');
});
