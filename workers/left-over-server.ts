/** What an instance that was killed leaves behind: a Temporal server that goes on, and process ids that are others' by now. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DataFolder } from './data-folder.js';

const GRACE_MS = 10_000;
const POLL_MS = 50;

/** For the holder of the folder: two servers must not share a database. @returns false when there was nothing to do. */
export async function clearUpAfter(data: DataFolder): Promise<boolean> {
  const left = await data.readInstance();
  if (!left) return false;
  if (left.temporal.pid !== undefined) await endLeftOverServer(left.temporal.pid, data.temporalDatabase());
  await data.removeInstance();
  return true;
}

/** Ends the process if it is still a server on this database file, and resolves when it is gone. */
async function endLeftOverServer(pid: number, dbFile: string): Promise<void> {
  const deadline = performance.now() + GRACE_MS;
  for (let signal: NodeJS.Signals = 'SIGTERM'; await servesDatabase(pid, dbFile); await sleep(POLL_MS)) {
    if (performance.now() > deadline) signal = 'SIGKILL';
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Process ids are given out again, so it is the command line that tells. */
async function servesDatabase(pid: number, dbFile: string): Promise<boolean> {
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return commandLine.split('\0').includes(dbFile);
}
