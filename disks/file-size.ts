/** The size of a disk file or block device; `stat` does not return that of a block device. */
import type { FileHandle } from 'node:fs/promises';
import { endOf } from './native.js';

/** @returns bytes of a file, or of the medium behind a block device. @throws the errno of the file system. */
export async function fileSize(file: FileHandle): Promise<number> {
  const found = await file.stat();
  return found.isBlockDevice() ? endOf(file.fd) : found.size;
}
