/** Reads and writes of a file at given positions, whole or not at all. Errors are Node's own. */
import type { FileHandle } from 'node:fs/promises';

/** Fills `target` from `position` (bytes). @returns bytes read: fewer than asked only at the end of the file. */
export async function readAt(file: FileHandle, target: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Writes all of `data` at `position` (bytes); the system may take it in pieces, and may have taken some if it fails. */
export async function writeAt(file: FileHandle, data: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < data.length) {
    const { bytesWritten } = await file.write(data, done, data.length - done, position + done);
    done += bytesWritten;
  }
}
