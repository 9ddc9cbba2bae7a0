/**
 * Changes of a VM's disks since they were last tracked, because of which their logs no longer describe the difference.
 */
import { sameIdentity, type FileIdentity } from '../disks/file-identity.js';
import type { LogHeader } from './change-log-format.js';
import { peekHeader, type LogFile } from './tracker-log-files.js';

export interface DiskNow {
  readonly name: string;
  /** Virtual size, bytes. */
  readonly size: number;
  /** State of its file before anything is written to it; undefined if it is unknown. */
  readonly identity?: FileIdentity | undefined;
  /** The open file as identified by `fileKey`; undefined if it is unknown. */
  readonly file?: string | undefined;
}

/**
 * Compares the disks with the headers of their logs.
 * @param files logs of each disk in the current epoch. @param now the VM's untracked disks, and the machine's boot id,
 * which file identities depend on.
 * @returns why a resynchronization is needed; undefined if the set of disks and their sizes are unchanged.
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
    // A header that cannot be read or belongs to something else is reported when the log is actually read.
    if (header?.vm !== vm || header.disk !== disk.name) continue;
    marked ??= header.resyncCause;
    tracked ??= header.tracked?.names;
    const { diskSize } = header;
    // The intact part of a damaged header may contain an outdated state of the file; the damage itself marks the VM.
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

/** For a log that a killed hypervisor left open: it must only be replayed onto the file it belongs to. */
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
