/** The Temporal server of an instance that was killed: it goes on running, and two servers must not share a database. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

const GRACE_MS = 10_000;
const POLL_MS = 50;

/** Ends the process if it is still a server on this database file, and resolves when it is gone. */
export async function endLeftOverServer(pid: number, dbFile: string): Promise<void> {
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
