/** The `.hrl` files beside the disks of a VM: which there are, and which epoch of them counts. */
import { open, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { decodeHeader, LOG_HEADER_BYTES, type LogHeader } from './change-log-format.js';

export interface LogFile {
  readonly path: string;
  readonly epoch: number;
  readonly sequence: number;
}

/** All logs of a disk, oldest first. Files that a killed process left unfinished are removed. */
export async function listLogs(diskPath: string): Promise<LogFile[]> {
  const folder = dirname(diskPath);
  const prefix = `${basename(diskPath)}.`;
  const logs: LogFile[] = [];
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix)) continue;
    const match = /^(\d{4,})-(\d{8,})\.hrl(\.new)?$/.exec(name.slice(prefix.length));
    if (!match) continue;
    const path = join(folder, name);
    if (match[3] !== undefined) await rm(path, { force: true });
    else logs.push({ path, epoch: Number(match[1]), sequence: Number(match[2]) });
  }
  return logs.sort((a, b) => a.epoch - b.epoch || a.sequence - b.sequence);
}

/** Of whatever log it is. @returns undefined when it cannot be read. */
export async function peekHeader({ path }: LogFile): Promise<LogHeader | undefined> {
  const bytes = Buffer.alloc(LOG_HEADER_BYTES);
  try {
    const file = await open(path, 'r');
    try {
      await file.read(bytes, 0, LOG_HEADER_BYTES, 0);
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
  return decodeHeader(bytes)?.header;
}

/**
 * The newest epoch that was begun; what is left of a newer one whose logs were not all created is removed.
 * @param files of each disk, in the order of the disks.
 */
export async function chooseEpoch(
  disks: readonly { readonly name: string }[],
  files: readonly LogFile[][],
): Promise<number | undefined> {
  const epochs = [...new Set(files.flat().map((file) => file.epoch))].sort((a, b) => b - a);
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

/** Has every disk a log that was there when the epoch began? The others have been added since. */
async function isWhole(disks: readonly { readonly name: string }[], inEpoch: readonly LogFile[][]): Promise<boolean> {
  for (const file of inEpoch.flat()) {
    const tracked = (await peekHeader(file))?.tracked;
    if (!tracked || tracked.count > tracked.names.length) continue;
    return disks.every(({ name }, index) => inEpoch[index]!.length > 0 || !tracked.names.includes(name));
  }
  return false;
}
