/** Closed disks: the open logs store the state that the disks' files had when they were closed. */
import { sameIdentity, type FileIdentity } from '../disks/file-identity.js';
import { edited, resized } from './tracker-changes.js';
import type { TrackedDisk } from './tracker-disk.js';

/** For each disk of a VM, in order; undefined if it is unknown. */
export type Identities = readonly (FileIdentity | undefined)[];

/** To be called when all writes have been flushed and the files are closed. */
export async function putDown(disks: readonly TrackedDisk[], found: Identities): Promise<void> {
  for (const [index, disk] of disks.entries()) {
    const identity = found[index];
    if (!disk.log || !identity) continue;
    await disk.log.rest(identity);
    disk.rest = identity;
  }
}

/**
 * To be called before the disks are written again: otherwise, after a kill, the writes would look like someone else's
 * change.
 */
export async function takeUp(disks: readonly TrackedDisk[], files: readonly (string | undefined)[]): Promise<void> {
  for (const [index, disk] of disks.entries()) {
    disk.file = files[index];
    await disk.log?.wake(disk.file);
    disk.rest = undefined;
  }
}

/** @returns why a resynchronization is needed; undefined if, as far as is known, the disks have not changed. */
export function changeAtRest(disks: readonly TrackedDisk[], found: Identities): string | undefined {
  for (const [index, { name, size, rest }] of disks.entries()) {
    const now = found[index];
    if (!rest || !now || sameIdentity(rest, now)) continue;
    return now.size === rest.size ? edited(name) : resized(name, size, size + now.size - rest.size);
  }
  return undefined;
}
