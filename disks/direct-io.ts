/**
 * Reads and writes that pass the system's page cache by (O_DIRECT), for much data that nobody is going to read again
 * soon: nothing is copied, nothing is pushed out of the cache, and what is read is what the disk holds. The system keeps
 * such access and the ordinary kind coherent. Whatever it does not take directly goes the ordinary way.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { alignUp } from '../domain/ranges.js';
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

/**
 * Fills `target` from a file past the cache, whatever its length and place in memory: what is small or ends within a block
 * goes by way of a buffer of its own.
 * @param position a multiple of 4096; else nothing is read.
 * @returns bytes of `target` that are filled: fewer at the end of the file, and 0 where the system or the file system knows
 * nothing of the kind.
 */
export async function readPastCache(path: string, target: Buffer, position: number): Promise<number> {
  if (position % ALIGNMENT !== 0) return 0;
  const file = await openDirect(path, 'read');
  if (!file) return 0;
  try {
    const whole = target.subarray(0, target.length - (target.length % ALIGNMENT));
    const straight = fitsDirectIo(whole, position) ? ((await readDirect(file, whole, position)) ?? 0) : 0;
    if (straight < whole.length && straight > 0) return straight;
    const rest = target.length - straight;
    const between = alignedBuffer(alignUp(rest, ALIGNMENT));
    const count = rest > 0 ? await readDirect(file, between, position + straight) : 0;
    return straight + between.copy(target, straight, 0, Math.min(rest, count ?? 0));
  } finally {
    await file.close();
  }
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
