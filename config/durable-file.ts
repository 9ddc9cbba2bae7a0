/** Small files of the data folder, replaced as a whole so that they survive the death of the process or the machine. */
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '../disks/sync-folder.js';

/**
 * If a process or the machine dies, the file has either the old or the new content. Several processes may write at the
 * same time. Readable by this user only. @throws the errno of the file system.
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
