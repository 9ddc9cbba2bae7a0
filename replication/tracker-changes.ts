/** What has happened to the disks of a VM since they were tracked last: why their logs tell the difference no more. */
import { sameIdentity, type FileIdentity } from '../disks/file-identity.js';
import { peekHeader, type LogFile } from './tracker-log-files.js';

export interface DiskNow {
  readonly name: string;
  /** Virtual size, bytes. */
  readonly size: number;
  /** Of its file before anything has been written to it; undefined where there is nothing to go by. */
  readonly identity?: FileIdentity | undefined;
}

/**
 * Holds the disks against the headers of their logs.
 * @param files of each disk in the epoch that counts. @param excluded disks the VM has that are not tracked.
 * @returns why a resynchronization is needed; undefined when set and sizes are those that were tracked.
 */
export async function changeOfDisks(
  vm: string,
  disks: readonly DiskNow[],
  files: readonly LogFile[][],
  excluded: readonly string[],
): Promise<string | undefined> {
  const causes: string[] = [];
  let marked: string | undefined;
  let tracked: readonly string[] | undefined;
  for (const [index, disk] of disks.entries()) {
    const newest = files[index]!.at(-1);
    const header = newest && (await peekHeader(newest));
    if (!newest) causes.push(`disk ${disk.name} was added`);
    // One that cannot be read, or is of something else, is told by whoever reads it in earnest.
    if (header?.vm !== vm || header.disk !== disk.name) continue;
    marked ??= header.resyncCause;
    tracked ??= header.tracked?.names;
    const { diskSize, rest } = header;
    if (diskSize !== disk.size) causes.push(resized(disk.name, diskSize, disk.size));
    else if (rest && disk.identity && !sameIdentity(rest, disk.identity)) causes.push(edited(disk.name));
  }
  for (const name of tracked ?? []) {
    if (disks.some((disk) => disk.name === name)) continue;
    causes.push(`disk ${name} was ${excluded.includes(name) ? 'excluded' : 'removed'}`);
  }
  return marked ?? (causes.length > 0 ? causes.join('; ') : undefined);
}

export const edited = (disk: string): string => `disk ${disk} was changed while the VM was off`;

export const resized = (disk: string, from: number, to: number): string =>
  `disk ${disk} ${to > from ? 'grew' : 'shrank'} from ${from} to ${to} bytes`;
