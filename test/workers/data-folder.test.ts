import { chmod, mkdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { DataFolder } from '../../workers/data-folder.js';
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
  await expect(data.prepare(['h1'])).rejects.toThrow(`${sockets}, where the sockets of this instance belong, is not a`);
});
