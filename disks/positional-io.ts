/** Complete reads and writes of a file at given positions. Errors are Node's own. */
import type { FileHandle } from 'node:fs/promises';

/** Fills `target` from `position` (bytes). @returns bytes read: fewer than requested only at the end of the file. */
export async function readAt(file: FileHandle, target: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/**
 * Writes all of `data` at `position` (bytes). The system may split it, and may have written a part of it if it fails.
 */
export async function writeAt(file: FileHandle, data: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const { bytesWritten } = await file.write(data, done, data.length - done, position + done);
    done += bytesWritten;
  }
}
