/**
 * Reads and writes that bypass the system's page cache (O_DIRECT), for large data that will not be read again soon:
 * nothing is copied or displaced from the cache, and reads return the content of the disk itself. The system keeps
 * direct and ordinary access coherent. Requests that do not fit direct access use the ordinary way.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { alignUp } from '../domain/ranges.js';
import { addressOf } from './native.js';
import { readAt, writeAt } from './positional-io.js';

/** Bytes. Position in the file, length, and memory address must be multiples of it: the largest block size of disks. */
const ALIGNMENT = 4096;
/** Bytes. Smaller requests are not worth a separate access to the disk. */
const LEAST = 64 * 1024;

/** A buffer that direct access can use. Its content is arbitrary. */
export function alignedBuffer(size: number): Buffer {
  const memory = Buffer.allocUnsafeSlow(size + ALIGNMENT);
  const beyond = Number(addressOf(memory) % BigInt(ALIGNMENT));
  const first = beyond === 0 ? 0 : ALIGNMENT - beyond;
  return memory.subarray(first, first + size);
}

/** Whether direct access is possible and worthwhile. */
export const fitsDirectIo = (data: Buffer, position: number): boolean =>
  data.length >= LEAST &&
  data.length % ALIGNMENT === 0 &&
  position % ALIGNMENT === 0 &&
  addressOf(data) % BigInt(ALIGNMENT) === 0n;

/** @returns undefined if the system or the file system does not support it. */
export async function openDirect(path: string, access: 'read' | 'write'): Promise<FileHandle | undefined> {
  // Undefined on systems other than Linux.
  const direct = constants.O_DIRECT as number | undefined;
  if (direct === undefined) return undefined;
  try {
    return await open(path, direct | (access === 'read' ? constants.O_RDONLY : constants.O_RDWR));
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

/** @returns false if the file system refuses; the content of the range is then undefined. */
export const writeDirect = (file: FileHandle, data: Buffer, position: number): Promise<boolean> =>
  unlessRefused(writeAt(file, data, position).then(() => true));

/** @returns bytes read, fewer than requested only at the end of the file; undefined if the file system refuses. */
export async function readDirect(file: FileHandle, target: Buffer, position: number): Promise<number | undefined> {
  const count = await unlessRefused(readAt(file, target, position));
  return count === false ? undefined : count;
}

/**
 * Fills `target` from a file past the cache, whatever its length and memory address: small or unaligned parts use an
 * intermediate buffer.
 * @param position a multiple of 4096; otherwise nothing is read.
 * @returns bytes of `target` that are filled: fewer at the end of the file, and 0 if the system or the file system does
 * not support it.
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
