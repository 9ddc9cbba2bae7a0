/**
 * Locks between processes, and between callers in one process. A lock consists of two files: every caller first passes
 * `.gate`, then takes `.lock`. An exclusive caller holds the gate while it waits, so that a stream of shared holders
 * cannot starve it. Shared callers hold the gate only for the time of two system calls.
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
 * @param patience how long to wait for other holders, ms.
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
 * Waits until the holders of the lock at this path have released it, if there is such a lock. For a lock that nobody
 * takes any more.
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

/** Polls, because a blocking call would occupy one of the few threads that the lock's holder needs for its own work. */
async function poll(attempt: () => boolean, deadline: number): Promise<boolean> {
  for (let pause = 1; !attempt(); pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    if (performance.now() >= deadline) return false;
    await sleep(pause);
  }
  return true;
}

async function openLockFile(path: string): Promise<FileHandle> {
  // Opened for writing, because network file systems require that for an exclusive lock. Anyone who could only read it
  // could hold it.
  return await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
}

async function timeout(path: string, mode: LockMode, patience: number, files: FileHandle[]): Promise<LockTimeout> {
  const pids = await lockHolders(files);
  const who =
    pids.length > 0 ? `process ${pids.join(', ')} of this machine holds it` : 'a process of another machine holds it';
  return new LockTimeout(`the ${mode} lock ${path} was not free within ${patience} ms: ${who}`);
}

/** As far as this system knows: not those on other machines or in other containers. */
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

/** Callers of this process, in order of arrival, so that they need not poll for each other. */
interface Queue {
  holders: number;
  exclusive: boolean;
  readonly waiting: { readonly mode: LockMode; readonly enter: () => void }[];
}

const queues = new Map<string, Queue>();

/** @param patience ms. @returns a function to call on leaving. @throws LockTimeout */
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
