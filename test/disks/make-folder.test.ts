import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeFolder } from '../../disks/make-folder.js';
import { temporaryFolder } from '../support/temporary-folder.js';

describe('makeFolder', () => {
  it('creates missing folders and leaves existing ones unchanged', async () => {
    const folder = await temporaryFolder();
    const wanted = join(folder, 'a', 'b', 'c');
    await makeFolder(wanted);
    await makeFolder(wanted);
    expect((await stat(wanted)).isDirectory()).toBe(true);
    await makeFolder('/');
  });

  it('can be called in parallel', async () => {
    const folder = await temporaryFolder();
    const wanted = Array.from({ length: 20 }, (_, at) => join(folder, 'a', 'b', `c${at % 3}`, 'd'));
    await Promise.all(wanted.map((at) => makeFolder(at)));
    for (const at of wanted) expect((await stat(at)).isDirectory()).toBe(true);
  });

  it('says that a file is in the way', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'file'), '');
    await expect(makeFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeFolder(join(folder, 'file', 'a', 'b'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it('fails if nothing can be created', async () => {
    await expect(makeFolder('/proc/farshore/data')).rejects.toMatchObject({
      code: 'ENOENT',
      message: 'cannot create a folder in /proc',
    });
  });
});
