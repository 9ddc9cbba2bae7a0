/** What has happened to the disks of a VM since they were tracked last: why their logs tell the difference no more. */
import { sameIdentity, type FileIdentity } from '../disks/file-identity.js';
import type { LogHeader } from './change-log-format.js';
import { peekHeader, type LogFile } from './tracker-log-files.js';

export interface DiskNow {
  readonly name: string;
  /** Virtual size, bytes. */
  readonly size: number;
  /** Of its file before anything has been written to it; undefined where there is nothing to go by. */
  readonly identity?: FileIdentity | undefined;
  /** Which file is open, as `fileKey` tells; undefined where that can't be told. */
  readonly file?: string | undefined;
}

/**
 * Holds the disks against the headers of their logs.
 * @param files of each disk in the epoch that counts. @param now disks the VM has that are not tracked, and the machine's
 * boot: files are told apart by what that gives them.
 * @returns why a resynchronization is needed; undefined when set and sizes are those that were tracked.
 */
export async function changeOfDisks(
  vm: string,
  disks: readonly DiskNow[],
  files: readonly LogFile[][],
  now: { readonly excluded: readonly string[]; readonly bootId: string },
): Promise<string | undefined> {
  const causes: string[] = [];
  let marked: string | undefined;
  let tracked: readonly string[] | undefined;
  for (const [index, disk] of disks.entries()) {
    const newest = files[index]!.at(-1);
    const found = newest && (await peekHeader(newest));
    const header = found?.header;
    if (!newest) causes.push(`disk ${disk.name} was added`);
    // One that cannot be read, or is of something else, is told by whoever reads it in earnest.
    if (header?.vm !== vm || header.disk !== disk.name) continue;
    marked ??= header.resyncCause;
    tracked ??= header.tracked?.names;
    const { diskSize } = header;
    // Of a damaged header what is left may be older than what it said of the file; the damage itself marks the VM.
    const rest = found?.damage === undefined ? header.rest : undefined;
    if (diskSize !== disk.size) causes.push(resized(disk.name, diskSize, disk.size));
    else if (rest && disk.identity && !sameIdentity(rest, disk.identity)) causes.push(edited(disk.name));
    else if (isReplaced(header, disk, now.bootId)) causes.push(`disk ${disk.name} was replaced by another file`);
  }
  for (const name of tracked ?? []) {
    if (disks.some((disk) => disk.name === name)) continue;
    causes.push(`disk ${name} was ${now.excluded.includes(name) ? 'excluded' : 'removed'}`);
  }
  return marked ?? (causes.length > 0 ? causes.join('; ') : undefined);
}

/** Of a log that a killed hypervisor left open: it is to be replayed onto the file that it is of. */
const isReplaced = (header: LogHeader, disk: DiskNow, bootId: string): boolean =>
  !header.rest &&
  !header.closed &&
  header.bootId === bootId &&
  header.file !== undefined &&
  disk.file !== undefined &&
  header.file !== disk.file;

export const edited = (disk: string): string => `disk ${disk} was changed while the VM was off`;

export const resized = (disk: string, from: number, to: number): string =>
  `disk ${disk} ${to > from ? 'grew' : 'shrank'} from ${from} to ${to} bytes`;
