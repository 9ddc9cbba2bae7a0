/**
 * Reads and writes that pass the system's page cache by (O_DIRECT), for much data that nobody is going to read again
 * soon: nothing is copied, nothing is pushed out of the cache, and what is read is what the disk holds. The system keeps
 * such access and the ordinary kind coherent. Whatever it does not take directly goes the ordinary way.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { addressOf } from './native.js';
import { readAt, writeAt } from './positional-io.js';

/** Bytes. Place in the file, length, and place in memory are multiples of it: the largest block disks have. */
const ALIGNMENT = 4096;
/** Bytes. Less is not worth a trip to the disk of its own. */
const LEAST = 64 * 1024;

/** A buffer that direct access can use. Its content is arbitrary. */
export function alignedBuffer(size: number): Buffer {
  const memory = Buffer.allocUnsafeSlow(size + ALIGNMENT);
  const beyond = Number(addressOf(memory) % BigInt(ALIGNMENT));
  const first = beyond === 0 ? 0 : ALIGNMENT - beyond;
  return memory.subarray(first, first + size);
}

/** Whether direct access is possible and worth while. */
export const fitsDirectIo = (data: Buffer, position: number): boolean =>
  data.length >= LEAST &&
  data.length % ALIGNMENT === 0 &&
  position % ALIGNMENT === 0 &&
  addressOf(data) % BigInt(ALIGNMENT) === 0n;

/** @returns undefined where the system or the file system knows nothing of the kind. */
export async function openDirect(path: string, access: 'read' | 'write'): Promise<FileHandle | undefined> {
  // Undefined on other systems than Linux.
  const direct = constants.O_DIRECT as number | undefined;
  if (direct === undefined) return undefined;
  try {
    return await open(path, direct | (access === 'read' ? constants.O_RDONLY : constants.O_RDWR));
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

/** @returns false when the file system refuses, the content of the range being undefined then. */
export const writeDirect = (file: FileHandle, data: Buffer, position: number): Promise<boolean> =>
  unlessRefused(writeAt(file, data, position).then(() => true));

/** @returns bytes read, fewer than asked only at the end of the file; undefined when the file system refuses. */
export async function readDirect(file: FileHandle, target: Buffer, position: number): Promise<number | undefined> {
  const count = await unlessRefused(readAt(file, target, position));
  return count === false ? undefined : count;
}

async function unlessRefused<T>(work: Promise<T>): Promise<T | false> {
  try {
    return await work;
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}

const isRefusal = (error: unknown): boolean =>
  ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? '');
