/** The `.hrl` files beside the disks of a VM: lists them, and finds the current epoch. */
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { openRegular } from '../disks/open-regular.js';
import { logPath } from './change-log.js';
import { decodeHeader, looksLikeLog, LOG_HEADER_BYTES, type DecodedHeader } from './change-log-format.js';

export interface LogFile {
  readonly path: string;
  readonly epoch: number;
  readonly sequence: number;
}

/** Epochs and sequences rise by one or two at a time, so a number above this one is not genuine. */
const MAX_NUMBER = 2 ** 32;

/** All logs of a disk according to their names, oldest first. Removes files that a killed process left unfinished. */
export async function listLogs(diskPath: string): Promise<LogFile[]> {
  const { logs, unfinished } = await lookForLogs(diskPath);
  for (const path of unfinished) await rm(path, { force: true });
  return logs.sort((a, b) => a.epoch - b.epoch || a.sequence - b.sequence);
}

/** As `listLogs`, but changes nothing. */
export const findLogs = async (diskPath: string): Promise<LogFile[]> => (await lookForLogs(diskPath)).logs;

/** Whether writes to the disk are or were tracked. Changes nothing. @throws the errno of the file system. */
export async function hasLogOf(vm: string, disk: { readonly name: string; readonly path: string }): Promise<boolean> {
  const { logs } = await lookForLogs(disk.path);
  const headers = await Promise.all(logs.map(peekHeader));
  return headers.some((found) => found?.header.vm === vm && found.header.disk === disk.name);
}

async function lookForLogs(diskPath: string): Promise<{ logs: LogFile[]; unfinished: string[] }> {
  const folder = dirname(diskPath);
  const prefix = `${basename(diskPath)}.`;
  const logs: LogFile[] = [];
  const unfinished: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const { name } = entry;
    if (!name.startsWith(prefix) || entry.isDirectory()) continue;
    const match = /^(\d{4,})-(\d{8,})\.hrl(\.new)?$/.exec(name.slice(prefix.length));
    if (!match) continue;
    const path = join(folder, name);
    const [epoch, sequence] = [Number(match[1]), Number(match[2])];
    if (match[3] !== undefined) unfinished.push(path);
    else if (epoch < MAX_NUMBER && sequence < MAX_NUMBER && path === logPath(diskPath, epoch, sequence)) {
      logs.push({ path, epoch, sequence });
    }
  }
  return { logs, unfinished };
}

/** Reads the header of any log. @returns undefined if it cannot be read. */
export async function peekHeader(file: LogFile): Promise<DecodedHeader | undefined> {
  const bytes = await peek(file);
  return bytes && decodeHeader(bytes);
}

async function peek({ path }: LogFile): Promise<Buffer | undefined> {
  const bytes = Buffer.alloc(LOG_HEADER_BYTES);
  try {
    const file = await openRegular(path, 'read');
    try {
      await file.read(bytes, 0, LOG_HEADER_BYTES, 0);
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
  return bytes;
}

/**
 * The newest epoch that was begun. Removes the rest of a newer epoch whose logs were not all created. Files that only
 * have the name of a log, or belong to another disk, do not count as an epoch and are left alone, unless there is
 * nothing else.
 * @param files of each disk, in the order of the disks.
 */
export async function chooseEpoch(
  vm: string,
  disks: readonly { readonly name: string }[],
  files: readonly LogFile[][],
): Promise<number | undefined> {
  const ours = await Promise.all(
    files.map(async (ofDisk, index) => {
      const isOurs = await Promise.all(ofDisk.map((file) => mayBeOf(vm, disks[index]!.name, file)));
      return ofDisk.filter((_, place) => isOurs[place]);
    }),
  );
  const begun = new Set(ours.flat().map((file) => file.epoch));
  const all = files.flat().map((file) => file.epoch);
  const epochs = (begun.size > 0 ? [...begun] : [...new Set(all)]).sort((a, b) => b - a);
  for (const epoch of epochs) {
    const inEpoch = files.map((ofDisk) => ofDisk.filter((file) => file.epoch === epoch));
    if (inEpoch.every((ofDisk) => ofDisk.length > 0) || (await isWhole(disks, inEpoch))) return epoch;
    const left = inEpoch.flat();
    const sizes = await Promise.all(left.map(async (file) => (await stat(file.path)).size));
    const neverBegun = left.every((file, index) => file.sequence === 1 && sizes[index]! <= LOG_HEADER_BYTES);
    if (!neverBegun) return epoch;
    for (const file of left) await rm(file.path, { force: true });
  }
  return undefined;
}

/** A log of this disk, or a damaged one that may be. */
async function mayBeOf(vm: string, disk: string, file: LogFile): Promise<boolean> {
  const bytes = await peek(file);
  if (!bytes) return false;
  const header = decodeHeader(bytes)?.header;
  if (!header) return looksLikeLog(bytes);
  return header.vm === vm && header.disk === disk && header.epoch === file.epoch && header.sequence === file.sequence;
}

/** Does every disk of the epoch's first set have a log? Other disks have been added since. */
async function isWhole(disks: readonly { readonly name: string }[], inEpoch: readonly LogFile[][]): Promise<boolean> {
  for (const file of inEpoch.flat()) {
    const tracked = (await peekHeader(file))?.header.tracked;
    if (!tracked || tracked.count > tracked.names.length) continue;
    return disks.every(({ name }, index) => inEpoch[index]!.length > 0 || !tracked.names.includes(name));
  }
  return false;
}
