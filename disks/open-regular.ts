/** Opens files that must be regular: opening a FIFO in place of one would block a thread forever. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

/** The name does not belong to a file but to something else: a FIFO, a socket, a folder. */
export class NotAFile extends Error {
  override readonly name = 'NotAFile';
}

/**
 * @param options.devices whether a block device is accepted, too.
 * @throws NotAFile, and the system's errors.
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
