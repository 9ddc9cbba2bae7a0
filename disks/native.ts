/**
 * The system calls Node does not offer: file locks, where a sparse file holds data, and giving space back. Everything
 * else that needs native code goes through here too, so that one file knows about koffi.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';
import { end, type Range } from '../domain/ranges.js';

export type LockMode = 'shared' | 'exclusive';

/** `lockFile` gave up: somebody else kept the lock all the time it was allowed to wait. */
export class LockTimeout extends Error {
  override readonly name = 'LockTimeout';
}

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

// The C library is part of the Node process already: no need to know what it is called on this system.
const libc = process.platform === 'win32' ? undefined : koffi.load(null);
const flock = libc?.func('int flock(int fd, int operation)');
// `off_t` has 64 bits wherever a long has.
const sparseCalls = process.platform === 'linux' && koffi.sizeof('long') === 8 ? libc : undefined;
const lseek = sparseCalls?.func('int64_t lseek(int fd, int64_t offset, int whence)');
const fallocate = sparseCalls?.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

const { EACCES, EAGAIN, EINTR, EINVAL, ENOSYS, ENOTSUP, ENXIO, EOPNOTSUPP, EPERM, EWOULDBLOCK } = koffi.os.errno;

/**
 * Takes the lock on an open file, without waiting. Locks belong to the open file description: two descriptors of one
 * process exclude each other too, and the lock of a process that dies is gone. Taken again in another mode it changes
 * over, which is not atomic.
 * @returns false when somebody else holds it.
 */
export function tryLockFile(fd: number, mode: LockMode): boolean {
  if (!flock) throw new Error(`file locks are not supported on ${process.platform}`);
  const operation = (mode === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB;
  if (flock(fd, operation) === 0) return true;
  const errno = koffi.errno();
  if (errno === EWOULDBLOCK || errno === EAGAIN || errno === EACCES || errno === EINTR) return false;
  throw systemError('flock', errno);
}

export function unlockFile(fd: number): void {
  if (flock && flock(fd, LOCK_UN) !== 0) throw systemError('flock', koffi.errno());
}

/**
 * Waits for the lock, for ever unless told otherwise. Not fair: an exclusive lock can be kept waiting by a stream of
 * shared ones, so take it where those have gaps.
 * @param options.timeoutMs milliseconds to wait at most.
 * @throws LockTimeout
 */
export async function lockFile(fd: number, mode: LockMode, options: { timeoutMs?: number } = {}): Promise<void> {
  const deadline = options.timeoutMs === undefined ? Infinity : performance.now() + options.timeoutMs;
  for (let pause = 1; !tryLockFile(fd, mode); pause = Math.min(pause * 2, 20)) {
    const left = deadline - performance.now();
    if (left <= 0) throw new LockTimeout(`the ${mode} lock was not free within ${options.timeoutMs} ms`);
    await sleep(Math.min(pause, left));
  }
}

/** Where a file or block device ends, bytes. Moves the file position, which positional I/O does not care about. */
export function endOf(fd: number): number {
  if (!lseek) throw new Error(`block devices are not supported on ${process.platform}`);
  const found = Number(lseek(fd, 0, SEEK_END));
  if (found < 0) throw systemError('lseek', koffi.errno());
  return found;
}

/**
 * The parts of a range of a file that may hold anything but zeroes: sorted, without overlap, nothing past the end of
 * the file. A file system that cannot tell gives the whole range. The list is as long as the file is fragmented: ask
 * for a bounded range. Moves the file position, which positional I/O does not care about.
 */
export function dataRanges(fd: number, range: Range): Range[] {
  if (range.length <= 0) return [];
  if (!lseek) return [range];
  const found: Range[] = [];
  let position = range.offset;
  while (position < end(range)) {
    const start = Number(lseek(fd, position, SEEK_DATA));
    if (start < 0) {
      const errno = koffi.errno();
      if (errno === ENXIO) break;
      if (errno === EINVAL || errno === EOPNOTSUPP || errno === ENOTSUP) return [range];
      throw systemError('lseek', errno);
    }
    if (start >= end(range)) break;
    const stop = Number(lseek(fd, start, SEEK_HOLE));
    if (stop < 0) {
      const errno = koffi.errno();
      // Truncated between the two calls: what is past the end holds nothing.
      if (errno === ENXIO) break;
      throw systemError('lseek', errno);
    }
    const offset = Math.max(start, position);
    position = Math.min(stop, end(range));
    found.push({ offset, length: position - offset });
  }
  return found;
}

/**
 * Gives the space of a range back to the file system; the range then reads as zeroes and the file keeps its size.
 * @returns false, with nothing changed, when the file system cannot.
 */
export async function punchHole(fd: number, range: Range): Promise<boolean> {
  if (range.length <= 0) return true;
  if (!fallocate) return false;
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const result = await new Promise<number>((resolve, reject) => {
    fallocate.async(fd, mode, range.offset, range.length, (error: unknown, value: number) =>
      error ? reject(error as Error) : resolve(value),
    );
  });
  if (result === 0) return true;
  // errno belongs to the thread that made the call: made again here, the call can be asked why.
  if (fallocate(fd, mode, range.offset, range.length) === 0) return true;
  const errno = koffi.errno();
  // A block device whose own sectors are larger than the range's edges allow.
  if (errno === EINVAL) return false;
  if (errno === EOPNOTSUPP || errno === ENOTSUP || errno === ENOSYS || errno === EPERM) return false;
  throw systemError('fallocate', errno);
}

/** Where the bytes of a buffer begin in this process's memory; they stay there as long as the buffer lives. */
export const addressOf = (buffer: Buffer): bigint => koffi.address(buffer);

/** An error shaped as Node's own, so that callers map `code` in one place. */
function systemError(syscall: string, errno: number): NodeJS.ErrnoException {
  const code = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? 'EUNKNOWN';
  return Object.assign(new Error(`${code}: ${syscall} failed (errno ${errno})`), { code, errno: -errno, syscall });
}
