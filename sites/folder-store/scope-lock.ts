/**
 * Locks between processes, and between callers in one process. A lock is two files: whoever wants in passes `.gate`
 * first, then takes `.lock`. Who wants it exclusively holds the gate while waiting, so a stream of shared holders
 * dries up instead of starving it. Shared ones hold the gate for no longer than the two system calls take.
 */
import { constants } from 'node:fs';
import { open, readFile, type FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { LockTimeout, tryLockFile, unlockFile, type LockMode } from '../../disks/native.js';
import { unlessMissing } from './folder-errors.js';

/** Milliseconds. */
const LONGEST_PAUSE = 4;

/**
 * Runs `work` under the lock at this path, whose folder must exist.
 * @param patience how long to wait for others that keep the lock, ms.
 * @throws LockTimeout
 */
export async function withLock<T>(path: string, mode: LockMode, patience: number, work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + patience;
  const leave = await enterQueue(path, mode, patience);
  try {
    const gate = await openLockFile(`${path}.gate`);
    try {
      const room = await openLockFile(`${path}.lock`);
      try {
        if (!(await (mode === 'shared' ? lockShared : lockExclusive)(gate, room, deadline))) {
          throw await timeout(path, mode, patience, [gate, room]);
        }
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

/**
 * Waits until whoever holds the lock at this path has let go, if there is such a lock. For one that nobody takes any more.
 * @param patience ms. @throws LockTimeout
 */
export async function untilLetGo(path: string, patience: number): Promise<void> {
  const room = await unlessMissing(open(`${path}.lock`, constants.O_RDWR), undefined);
  if (!room) return;
  try {
    const deadline = performance.now() + patience;
    if (await poll(() => tryLockFile(room.fd, 'exclusive'), deadline)) return;
    throw await timeout(path, 'exclusive', patience, [room]);
  } finally {
    await room.close();
  }
}

async function lockShared(gate: FileHandle, room: FileHandle, deadline: number): Promise<boolean> {
  return await poll(() => {
    if (!tryLockFile(gate.fd, 'shared')) return false;
    const entered = tryLockFile(room.fd, 'shared');
    unlockFile(gate.fd);
    return entered;
  }, deadline);
}

async function lockExclusive(gate: FileHandle, room: FileHandle, deadline: number): Promise<boolean> {
  if (!(await poll(() => tryLockFile(gate.fd, 'exclusive'), deadline))) return false;
  const entered = await poll(() => tryLockFile(room.fd, 'exclusive'), deadline);
  unlockFile(gate.fd);
  return entered;
}

/** A blocking call would sit on one of the few threads that the holder of the lock needs for its own work. */
async function poll(attempt: () => boolean, deadline: number): Promise<boolean> {
  for (let pause = 1; !attempt(); pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    if (performance.now() >= deadline) return false;
    await sleep(pause);
  }
  return true;
}

async function openLockFile(path: string): Promise<FileHandle> {
  // Opened for writing: network file systems give an exclusive lock on nothing less. Who can read it could hold it.
  return await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
}

async function timeout(path: string, mode: LockMode, patience: number, files: FileHandle[]): Promise<LockTimeout> {
  const pids = await lockHolders(files);
  const who =
    pids.length > 0 ? `process ${pids.join(', ')} of this machine holds it` : 'a process of another machine holds it';
  return new LockTimeout(`the ${mode} lock ${path} was not free within ${patience} ms: ${who}`);
}

/** As far as this system tells: those of other machines, and of other containers, it does not know. */
async function lockHolders(files: FileHandle[]): Promise<string[]> {
  const inodes = new Set<string>();
  for (const file of files) inodes.add(String((await file.stat()).ino));
  const locks = await readFile('/proc/locks', 'utf8').catch(() => '');
  const holders = locks.split('\n').flatMap((line) => {
    const [, , , , pid, file] = line.trim().split(/\s+/);
    return pid !== undefined && Number(pid) > 0 && inodes.has(file?.split(':').at(-1) ?? '') ? [pid] : [];
  });
  return [...new Set(holders)];
}

/** Callers of this process: first come, first served, so that none of them has to poll for another. */
interface Queue {
  holders: number;
  exclusive: boolean;
  readonly waiting: { readonly mode: LockMode; readonly enter: () => void }[];
}

const queues = new Map<string, Queue>();

/** @param patience ms. @returns what to call on leaving. @throws LockTimeout */
async function enterQueue(path: string, mode: LockMode, patience: number): Promise<() => void> {
  let queue = queues.get(path);
  if (!queue) queues.set(path, (queue = { holders: 0, exclusive: false, waiting: [] }));
  const own = queue;
  await new Promise<void>((resolve, reject) => {
    const giveUp = () => {
      own.waiting.splice(own.waiting.indexOf(entry), 1);
      admit(own);
      reject(new LockTimeout(`the ${mode} lock ${path} was not free within ${patience} ms: this process holds it`));
    };
    const timer = setTimeout(giveUp, patience);
    const enter = () => {
      clearTimeout(timer);
      resolve();
    };
    const entry = { mode, enter };
    own.waiting.push(entry);
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
