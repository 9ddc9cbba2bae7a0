/**
 * Locks between processes, and between callers in one process. A lock is two files: whoever wants in passes `.gate`
 * first, then takes `.lock`. Who wants it exclusively holds the gate while waiting, so a stream of shared holders
 * dries up instead of starving it. Shared ones hold the gate for no longer than the two system calls take.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLockFile, unlockFile, type LockMode } from '../../disks/native.js';
import { errnoOf } from './replica-store-errors.js';

/** Milliseconds. */
const LONGEST_PAUSE = 4;

/** Runs `work` under the lock at this path, whose folder must exist. Waits as long as others keep the lock. */
export async function withLock<T>(path: string, mode: LockMode, work: () => Promise<T>): Promise<T> {
  const leave = await enterQueue(path, mode);
  try {
    const gate = await openLockFile(`${path}.gate`, mode);
    try {
      const room = await openLockFile(`${path}.lock`, mode);
      try {
        await (mode === 'shared' ? lockShared(gate, room) : lockExclusive(gate, room));
        return await work();
      } finally {
        await room.close();
      }
    } finally {
      await gate.close();
    }
  } finally {
    leave();
  }
}

async function lockShared(gate: FileHandle, room: FileHandle): Promise<void> {
  await poll(() => {
    if (!tryLockFile(gate.fd, 'shared')) return false;
    const entered = tryLockFile(room.fd, 'shared');
    unlockFile(gate.fd);
    return entered;
  });
}

async function lockExclusive(gate: FileHandle, room: FileHandle): Promise<void> {
  await poll(() => tryLockFile(gate.fd, 'exclusive'));
  await poll(() => tryLockFile(room.fd, 'exclusive'));
  unlockFile(gate.fd);
}

/** A blocking call would sit on one of the few threads that the holder of the lock needs for its own work. */
async function poll(attempt: () => boolean): Promise<void> {
  for (let pause = 1; !attempt(); pause = Math.min(pause * 2, LONGEST_PAUSE)) await sleep(pause);
}

async function openLockFile(path: string, mode: LockMode): Promise<FileHandle> {
  try {
    // Opened for writing: network file systems give an exclusive lock on nothing less.
    return await open(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  } catch (error) {
    const readOnly = ['EROFS', 'EACCES'].includes(errnoOf(error) ?? '');
    if (mode === 'shared' && readOnly) return await open(path, constants.O_RDONLY);
    throw error;
  }
}

/** Callers of this process: first come, first served, so that none of them has to poll for another. */
interface Queue {
  holders: number;
  exclusive: boolean;
  readonly waiting: { readonly mode: LockMode; readonly enter: () => void }[];
}

const queues = new Map<string, Queue>();

/** @returns what to call on leaving. */
async function enterQueue(path: string, mode: LockMode): Promise<() => void> {
  let queue = queues.get(path);
  if (!queue) queues.set(path, (queue = { holders: 0, exclusive: false, waiting: [] }));
  const own = queue;
  await new Promise<void>((enter) => {
    own.waiting.push({ mode, enter });
    admit(own);
  });
  return () => {
    own.holders -= 1;
    own.exclusive = false;
    admit(own);
    if (own.holders === 0) queues.delete(path);
  };
}

function admit(queue: Queue): void {
  for (let next = queue.waiting[0]; next; next = queue.waiting[0]) {
    if (queue.exclusive || (next.mode === 'exclusive' && queue.holders > 0)) return;
    queue.waiting.shift();
    queue.holders += 1;
    queue.exclusive = next.mode === 'exclusive';
    next.enter();
  }
}
