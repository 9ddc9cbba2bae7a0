/** Opens files that have to be files: whoever opens a FIFO in the place of one waits for ever, and a thread with him. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

/** What lies under the name of a file is something else: a FIFO, a socket, a folder. */
export class NotAFile extends Error {
  override readonly name = 'NotAFile';
}

/**
 * @param options.devices whether a block device will do, too.
 * @throws NotAFile, and what the system says.
 */
export async function openRegular(
  path: string,
  access: 'read' | 'read and write',
  options: { devices?: boolean } = {},
): Promise<FileHandle> {
  const flags = access === 'read' ? constants.O_RDONLY : constants.O_RDWR;
  const file = await open(path, flags | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (found.isFile() || (options.devices && found.isBlockDevice())) return file;
    throw new NotAFile(`${path} is not a file`);
  } catch (error) {
    await file.close();
    throw error;
  }
}
