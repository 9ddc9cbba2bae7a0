/**
 * System calls that Node does not offer: file locks, finding the data in a sparse file, and freeing space. All other
 * native code goes through here too, so that only this file uses koffi.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';
import { end, type Range } from '../domain/ranges.js';

export type LockMode = 'shared' | 'exclusive';

/** `lockFile` gave up: another process held the lock for the whole time it was allowed to wait. */
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

// The C library is already loaded into the Node process, so its name on this system is not needed.
const libc = process.platform === 'win32' ? undefined : koffi.load(null);
const flock = libc?.func('int flock(int fd, int operation)');
// `off_t` has 64 bits wherever `long` has.
const sparseCalls = process.platform === 'linux' && koffi.sizeof('long') === 8 ? libc : undefined;
const lseek = sparseCalls?.func('int64_t lseek(int fd, int64_t offset, int whence)');
const fallocate = sparseCalls?.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');

const { EACCES, EAGAIN, EINTR, EINVAL, ENOSYS, ENOTSUP, ENXIO, EOPNOTSUPP, EPERM, EWOULDBLOCK } = koffi.os.errno;

/**
 * Takes the lock on an open file without waiting. Locks belong to the open file description: two descriptors of one
 * process exclude each other too, and the lock of a process that dies is released. Taking it again in another mode
 * changes the mode, which is not atomic.
 * @returns false if the lock is held elsewhere.
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
 * Waits for the lock, by default without limit. Not fair: a stream of shared locks can delay an exclusive one, so take
 * it where the stream has gaps.
 * @param options.timeoutMs longest wait, ms.
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

/** The end of a file or block device, bytes. Moves the file position, which positional I/O does not use. */
export function endOf(fd: number): number {
  if (!lseek) throw new Error(`block devices are not supported on ${process.platform}`);
  const found = Number(lseek(fd, 0, SEEK_END));
  if (found < 0) throw systemError('lseek', koffi.errno());
  return found;
}

/**
 * The parts of a range of a file that may contain anything but zeroes: sorted, without overlap, nothing past the end of
 * the file. A file system without this information returns the whole range. The list is as long as the file is
 * fragmented, so request a bounded range. Moves the file position, which positional I/O does not use.
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
      // The file was truncated between the two calls: there is no data past its end.
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
 * Frees the space of a range; the range then reads as zeroes and the file keeps its size.
 * @returns false, with nothing changed, if the file system does not support it.
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
  // errno belongs to the calling thread, so the call is repeated here to read its errno.
  if (fallocate(fd, mode, range.offset, range.length) === 0) return true;
  const errno = koffi.errno();
  // A block device with sectors larger than the range's alignment.
  if (errno === EINVAL) return false;
  if (errno === EOPNOTSUPP || errno === ENOTSUP || errno === ENOSYS || errno === EPERM) return false;
  throw systemError('fallocate', errno);
}

/** The memory address of a buffer, which does not change as long as the buffer lives. */
export const addressOf = (buffer: Buffer): bigint => koffi.address(buffer);

/** An error in Node's form, so that callers map `code` in one place. */
function systemError(syscall: string, errno: number): NodeJS.ErrnoException {
  const code = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? 'EUNKNOWN';
  return Object.assign(new Error(`${code}: ${syscall} failed (errno ${errno})`), { code, errno: -errno, syscall });
}
