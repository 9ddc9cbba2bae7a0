import { mkdir, open, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds between two signs of life of a lock's holder. */
const TOUCH_INTERVAL_MS = 2_000;
/** Milliseconds without a sign of life after which a holder counts as dead. */
const STALE_AFTER_MS = 15_000;
/** Milliseconds between two checks of a lock that another process holds. */
const POLL_MS = 500;

/**
 * Runs `work` while no other process of this machine installs the same thing, so that two processes do not both spend
 * minutes building it. Waits as long as the holder lives; a lock whose holder died is taken over after 15 s.
 *
 * The lock only saves work and is not needed for safety: rarely, two processes may both take over a dead lock, but an
 * installation always becomes visible by one rename.
 * @param folder - created if missing; throws the file system's error if it is not writable.
 */
export async function withInstallLock<T>(
  folder: string,
  name: string,
  onProgress: (line: string) => void,
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${name}.lock`);
  let announced = false;
  while (!(await tryCreate(path))) {
    if (await isStale(path)) {
      await rm(path, { force: true });
      continue;
    }
    if (!announced) onProgress(`Another process is installing ${name}; waiting for it (${path}).`);
    announced = true;
    await sleep(POLL_MS);
  }
  // The time stamp is the sign of life: unlike a process id it is not reused, and it works in a shared home folder.
  const touch = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), TOUCH_INTERVAL_MS);
  try {
    return await work();
  } finally {
    clearInterval(touch);
    await rm(path, { force: true });
  }
}

async function tryCreate(path: string): Promise<boolean> {
  try {
    await (await open(path, 'wx')).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function isStale(path: string): Promise<boolean> {
  try {
    return Date.now() - (await stat(path)).mtimeMs > STALE_AFTER_MS;
  } catch (error) {
    // Released between the two checks: the next attempt to create it decides.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
