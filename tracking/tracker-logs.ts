/** Creates and removes the change logs of all disks of a VM together. */
import { rm } from 'node:fs/promises';
import { ChangeLog, logPath } from './change-log.js';
import type { LogHeader } from './change-log-format.js';
import type { TrackedDisk } from './tracker-disk.js';
import { trackedSet } from './tracker-load.js';
import { listLogs } from './tracker-log-files.js';

export interface LogsToCreate extends Pick<LogHeader, 'bootId' | 'openedByFinalCut' | 'firstWrite'> {
  readonly vm: string;
  readonly epoch: number;
  readonly sequence: number;
}

/** Creates one log for each disk, in the order of the disks; either all of them are on stable storage, or none. */
export async function createLogs(disks: readonly TrackedDisk[], logs: LogsToCreate): Promise<ChangeLog[]> {
  const createdAt = Date.now();
  const created: ChangeLog[] = [];
  try {
    const tracked = trackedSet(disks);
    for (const { name, size, path, rest, file } of disks) {
      const found = { ...(rest && { rest }), ...(file !== undefined && { file }) };
      const log = { ...logs, disk: name, diskSize: size, createdAt, tracked, ...found };
      created.push(await ChangeLog.create(logPath(path, logs.epoch, logs.sequence), log));
    }
    return created;
  } catch (error) {
    await dropLogs(created);
    throw error;
  }
}

/** Closes and deletes logs that are no longer needed. */
export async function dropLogs(logs: readonly ChangeLog[]): Promise<void> {
  for (const log of logs) {
    await log.abandon();
    await rm(log.path, { force: true });
  }
}

/** Deletes all logs of the disks, or only those of epochs before the given one. */
export async function removeLogs(disks: readonly TrackedDisk[], beforeEpoch = Infinity): Promise<void> {
  for (const disk of disks) {
    for (const file of await listLogs(disk.path)) if (file.epoch < beforeEpoch) await rm(file.path, { force: true });
  }
}
