/**
 * Finds the logs of a VM after a restart. The headers beside the disks are the only state.
 *
 * - Logs n+1 exist for some disks only: the cut had not happened yet; these logs are empty and are deleted.
 * - Logs n+1 exist for all disks: the cut has been made; logs n are sealed now.
 * - An open log of this boot, or one that was closed in order: its tail is replayed onto the disk, and a torn end is
 * dropped.
 * - An open log of another boot; a missing, foreign or damaged log; another set of disks or another size; a disk that
 * was changed since it was closed: the VM is marked for resynchronization.
 */
import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { openRegular } from '../disks/open-regular.js';
import { CatalogueError } from '../domain/errors.js';
import { toIso } from '../domain/time.js';
import type { Cut } from '../ports/change-source.js';
import { ChangeLog, logPath } from './change-log.js';
import { logError } from './change-log-errors.js';
import { LOG_HEADER_BYTES, type TrackedSet } from './change-log-format.js';
import { changeOfDisks, type DiskNow } from './tracker-changes.js';
import type { DiskToTrack } from './tracker-options.js';
import { chooseEpoch, listLogs, type LogFile } from './tracker-log-files.js';
import { readLogHeader, scanLog, type FoundLog, type LogEnd } from './change-log-scan.js';

interface DiskToLoad extends DiskNow, DiskToTrack {}

export interface LoadedTracking {
  readonly epoch: number;
  readonly openSequence: number;
  readonly resyncCause: string | undefined;
  /** The open log of each tracked disk, in their order. */
  readonly logs: readonly ChangeLog[];
  /** Size of the sealed logs of each disk by sequence, in the order of the disks, bytes. */
  readonly sealedBytes: readonly Map<number, number>[];
  readonly cuts: readonly Cut[];
}

/** The set that the headers of all logs of an epoch contain. */
export const trackedSet = (disks: readonly { readonly name: string }[]): TrackedSet => ({
  count: disks.length,
  names: disks.map(({ name }) => name),
});

interface FoundFile extends LogFile, FoundLog {}

/** A reason to mark the VM, as opposed to an error of the operation. */
class Unusable extends Error {}

/** @param all all disks of the VM. @returns undefined if the VM is not replicated. */
export async function loadTracking(
  vm: string,
  all: readonly DiskToTrack[],
  bootId: string,
): Promise<LoadedTracking | undefined> {
  const disks = all.filter((disk) => !disk.excluded).map((disk) => ({ ...disk, size: disk.chain.size }));
  const excluded = all.filter((disk) => disk.excluded).map(({ name }) => name);
  const files = await Promise.all(disks.map((disk) => listLogs(disk.path)));
  const epoch = await chooseEpoch(vm, disks, files);
  for (const file of files.flat()) if (file.epoch < (epoch ?? Infinity)) await rm(file.path, { force: true });
  if (epoch === undefined) return undefined;
  const current = files.map((ofDisk) => ofDisk.filter((file) => file.epoch === epoch));
  const change = await changeOfDisks(vm, disks, current, { excluded, bootId });
  if (change !== undefined) return markFound(vm, epoch, disks, current, bootId, change);
  try {
    return await loadEpoch(vm, epoch, disks, current, bootId);
  } catch (error) {
    const unusable = error instanceof Unusable || (error instanceof CatalogueError && error.code === 'LogBroken');
    if (!unusable) throw error;
    return markFound(vm, epoch, disks, current, bootId, error.message);
  }
}

async function loadEpoch(
  vm: string,
  epoch: number,
  disks: readonly DiskToLoad[],
  files: readonly LogFile[][],
  bootId: string,
): Promise<LoadedTracking> {
  const found = await Promise.all(
    disks.map((disk, index) =>
      Promise.all(
        files[index]!.map(async (file): Promise<FoundFile> => {
          const expected = { vm, disk: disk.name, diskSize: disk.size, epoch, sequence: file.sequence };
          return { ...file, ...(await readLogHeader(file.path, expected)) };
        }),
      ),
    ),
  );
  for (const { header } of found.flat()) if (header.resyncCause !== undefined) throw new Unusable(header.resyncCause);

  const openSequence = await settleOpenSequence(disks, found);
  const cutBefore = await checkOlder(found, openSequence);
  for (const file of found.flat()) {
    const { sealed, closed, bootId: boot } = file.header;
    if (sealed || boot === bootId || closed?.length === file.length) continue;
    throw new Unusable('the host restarted while a change log was open');
  }
  const ends = await allEnded(disks.map((disk, index) => replay(disk, found[index]!, openSequence)));
  const logs: ChangeLog[] = [];
  for (const [index, ofDisk] of found.entries()) {
    const { before, last } = ends[index]!;
    const older = ofDisk.at(-2);
    if (older && before) {
      const log = await ChangeLog.reopen(older.path, older, { ...before, bootId, file: disks[index]!.file });
      await log.seal(cutBefore.at, cutBefore.final);
      older.header.sealed = log.header.sealed!;
    }
    const newest = ofDisk.at(-1)!;
    newest.header.firstWrite = last.firstWrite;
    logs.push(await ChangeLog.reopen(newest.path, newest, { ...last, bootId, file: disks[index]!.file }));
  }
  const sealed = found.map((ofDisk) => ofDisk.filter((file) => file.sequence < openSequence));
  return {
    epoch,
    openSequence,
    resyncCause: undefined,
    logs,
    sealedBytes: sealed.map((ofDisk) => new Map(ofDisk.map((file) => [file.sequence, file.header.sealed!.length]))),
    cuts: sealed[0]!.map((first, place) => ({
      vm,
      epoch,
      sequence: first.sequence,
      sealedAt: toIso(first.header.sealed!.at),
      final: first.header.sealed!.final,
      disks: disks.map((disk, index) => {
        const file = sealed[index]![place]!;
        const { lastWrite } = file.header.sealed!;
        return { name: disk.name, size: disk.size, token: basename(file.path), lastWrite };
      }),
    })),
  };
}

/**
 * The open sequence: the newest that all disks have. Deletes newer logs that only some disks have, which are still
 * empty.
 */
async function settleOpenSequence(disks: readonly DiskToLoad[], found: FoundFile[][]): Promise<number> {
  const newest = Math.max(...found.flat().map((file) => file.sequence));
  if (found.every((ofDisk) => ofDisk.at(-1)?.sequence === newest)) return newest;
  for (const [index, ofDisk] of found.entries()) {
    const last = ofDisk.at(-1);
    if (last?.sequence === newest) {
      if (last.length > LOG_HEADER_BYTES || last.header.firstWrite > 0) {
        throw new Unusable(`a change log is missing: ${basename(last.path)} has no counterpart on the other disks`);
      }
      await rm(last.path, { force: true });
      ofDisk.pop();
    }
    if (ofDisk.at(-1)?.sequence !== newest - 1) {
      throw new Unusable(`change log ${newest - 1} of disk ${disks[index]!.name} is missing`);
    }
  }
  return newest - 1;
}

/**
 * Checks the logs before the open ones. They must be sealed, except for the last, whose cut may have been interrupted.
 * Removes logs left by an interrupted release.
 * @returns the values with which the last cut must be sealed if it is not.
 */
async function checkOlder(found: FoundFile[][], openSequence: number): Promise<{ at: number; final: boolean }> {
  const older = new Set(found.flat().map((file) => file.sequence));
  older.delete(openSequence);
  for (const sequence of older) {
    const files = found.map((ofDisk) => ofDisk.find((file) => file.sequence === sequence));
    const isWhole = files.every((file) => file !== undefined);
    const isSealed = files.every((file) => !file || file.header.sealed);
    if (!isSealed && (!isWhole || sequence !== openSequence - 1)) {
      throw new Unusable(`change log ${sequence} was not sealed on every disk`);
    }
    if (isWhole) continue;
    for (const [index, file] of files.entries()) {
      if (!file) continue;
      await rm(file.path, { force: true });
      found[index] = found[index]!.filter((other) => other !== file);
    }
  }
  const open = found.map((ofDisk) => ofDisk.at(-1)!.header);
  if (found.some((ofDisk) => ofDisk.at(-1)!.header.sealed)) {
    throw new Unusable(`change log ${openSequence + 1} is missing`);
  }
  const sealed = found.map((ofDisk) => ofDisk.at(-2)?.header.sealed).find((seal) => seal !== undefined);
  if (sealed) return sealed;
  // No cut had switched to the open logs, so every write is in the older ones.
  const switched = open.find(({ firstWrite }) => firstWrite > 0);
  return { at: switched?.createdAt ?? Date.now(), final: open[0]!.openedByFinalCut };
}

/** As `Promise.all`, but waits for all, so that nothing continues while the caller handles a failure. */
async function allEnded<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

interface Replayed {
  /** End of the log before the open one, if that was not sealed. */
  readonly before: LogEnd | undefined;
  readonly last: LogEnd & { readonly firstWrite: number };
}

/** Brings the disk to the state of its logs, in their order. */
async function replay(disk: DiskToLoad, files: readonly FoundFile[], openSequence: number): Promise<Replayed> {
  const newest = files.at(-1)!;
  const older = files.find((file) => file.sequence === openSequence - 1);
  const before = older && !older.header.sealed ? await replayLog(disk, older, false) : undefined;
  const lastBefore = before?.lastWrite ?? older?.header.sealed?.lastWrite;
  const known = newest.header.firstWrite;
  if (known === 0 && lastBefore === undefined) {
    throw new Unusable(`change log ${openSequence - 1} of disk ${disk.name} is missing`);
  }
  let first: number | undefined;
  // If an older log was replayed, replays all of this one: the older writes have overwritten newer ones, which the
  // watermark would skip.
  const last = await replayLog(disk, newest, before !== undefined, (number) => (first ??= number));
  const firstWrite = known || (first ?? lastBefore! + 1);
  // Numbers of writes that were never acknowledged may be missing, but no number may occur twice.
  if (lastBefore !== undefined && firstWrite <= lastBefore) {
    throw new Unusable(`change log ${openSequence} of disk ${disk.name} does not follow the one before`);
  }
  return { before, last: { position: last.position, lastWrite: Math.max(last.lastWrite, firstWrite - 1), firstWrite } };
}

async function replayLog(
  disk: DiskToLoad,
  file: FoundFile,
  whole: boolean,
  seen?: (number: number) => void,
): Promise<LogEnd> {
  const { header, path } = file;
  const lastWrite = header.firstWrite === 0 ? undefined : whole ? header.firstWrite - 1 : header.watermarkWrite;
  const handle = await openRegular(path, 'read').catch((error: unknown) => {
    throw logError(error, path);
  });
  try {
    const scan = scanLog(handle, path, {
      position: whole ? LOG_HEADER_BYTES : header.watermark,
      lastWrite,
      sealed: header.closed,
      appended: header.appended,
    });
    for (let step = await scan.next(); ; step = await scan.next()) {
      if (step.done) return step.value;
      for (const { number, offset, length, data } of step.value) {
        seen?.(number);
        await (data ? disk.chain.write(data, offset) : disk.chain.writeZeroes({ offset, length }));
      }
    }
  } finally {
    await handle.close();
  }
}

/** Stores the mark durably in one log of each disk, and removes the other logs, which are useless now. */
async function markFound(
  vm: string,
  epoch: number,
  disks: readonly DiskToLoad[],
  files: readonly LogFile[][],
  bootId: string,
  resyncCause: string,
): Promise<LoadedTracking> {
  const openSequence = Math.max(...files.flat().map((file) => file.sequence));
  const logs: ChangeLog[] = [];
  for (const disk of disks) {
    const identity = { vm, disk: disk.name, diskSize: disk.size, epoch, sequence: openSequence };
    const path = logPath(disk.path, epoch, openSequence);
    const found = await readLogHeader(path, identity).catch(() => undefined);
    if (found) {
      const state = { position: LOG_HEADER_BYTES, lastWrite: found.header.firstWrite, bootId, file: disk.file };
      logs.push(await ChangeLog.reopen(path, { ...found, header: { ...found.header, resyncCause } }, state));
    } else {
      const tracked = trackedSet(disks);
      const fresh = { createdAt: Date.now(), openedByFinalCut: false, firstWrite: 1, bootId, resyncCause, tracked };
      const file = disk.file === undefined ? {} : { file: disk.file };
      logs.push(await ChangeLog.create(path, { ...identity, ...fresh, ...file }));
    }
  }
  for (const file of files.flat()) if (file.sequence < openSequence) await rm(file.path, { force: true });
  return { epoch, openSequence, resyncCause, logs, sealedBytes: disks.map(() => new Map()), cuts: [] };
}
