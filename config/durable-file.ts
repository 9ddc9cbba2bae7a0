/** Small files of the data folder: replaced whole, and there whatever happens to process or machine. */
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '../disks/sync-folder.js';

/**
 * A process or machine that dies leaves the old content or the new; several processes may do this at once.
 * For this user only. @throws the errno of the file system.
 */
export async function replaceFile(file: string, text: string): Promise<void> {
  const unfinished = `${file}.${process.pid}.new`;
  try {
    const handle = await open(unfinished, 'w', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, file);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
  await syncFolder(path.dirname(file));
}
