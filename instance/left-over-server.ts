/**
 * Cleans up after a killed instance: a Temporal server that is still running, and process ids that may have been
 * reused.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DamagedInstanceError, type DataFolder, type Instance } from '../config/data-folder.js';

const GRACE_MS = 10_000;
const POLL_MS = 50;

/** Whether the folder, which no process holds, was left by an instance that did not stop in order. */
export async function isLeftOver(data: DataFolder): Promise<boolean> {
  return (await leftOf(data)) !== undefined;
}

/**
 * For the process that holds the folder: two servers must not share a database. @returns false if there was nothing to
 * do.
 */
export async function clearUpAfter(data: DataFolder): Promise<boolean> {
  const left = await leftOf(data);
  if (left === undefined) return false;
  const dbFile = data.temporalDatabase();
  // If the instance file is damaged, the process id of the server is unknown.
  const servers =
    left === 'damaged' ? await allProcesses() : left.temporal.pid === undefined ? [] : [left.temporal.pid];
  for (const pid of servers) await endLeftOverServer(pid, dbFile);
  await data.removeInstance();
  return true;
}

async function leftOf(data: DataFolder): Promise<Instance | 'damaged' | undefined> {
  try {
    return await data.readInstance();
  } catch (error) {
    if (error instanceof DamagedInstanceError) return 'damaged';
    throw error;
  }
}

const allProcesses = async (): Promise<number[]> =>
  (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number);

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

/** Process ids are reused, so the command line decides. */
async function servesDatabase(pid: number, dbFile: string): Promise<boolean> {
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const folder = await readlink(`/proc/${pid}/cwd`).catch(() => '/');
  return commandLine.split('\0').some((argument) => path.resolve(folder, argument) === dbFile);
}
