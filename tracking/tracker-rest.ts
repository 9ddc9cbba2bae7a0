/** Disks that nobody has open: what their files were when they were put down is remembered in the open logs. */
import { sameIdentity, type FileIdentity } from '../disks/file-identity.js';
import { edited, resized } from './tracker-changes.js';
import type { TrackedDisk } from './tracker-disk.js';

/** Of each disk of a VM, in their order; undefined where there is nothing to go by. */
export type Identities = readonly (FileIdentity | undefined)[];

/** All that was written has been flushed, and the files are closed. */
export async function putDown(disks: readonly TrackedDisk[], found: Identities): Promise<void> {
  for (const [index, disk] of disks.entries()) {
    const identity = found[index];
    if (!disk.log || !identity) continue;
    await disk.log.rest(identity);
    disk.rest = identity;
  }
}

/** The disks are about to be written again: a killed process must not be taken for somebody who changed them. */
export async function takeUp(disks: readonly TrackedDisk[], files: readonly (string | undefined)[]): Promise<void> {
  for (const [index, disk] of disks.entries()) {
    disk.file = files[index];
    await disk.log?.wake(disk.file);
    disk.rest = undefined;
  }
}

/** @returns why a resynchronization is needed; undefined when the disks are what they were, as far as can be told. */
export function changeAtRest(disks: readonly TrackedDisk[], found: Identities): string | undefined {
  for (const [index, { name, size, rest }] of disks.entries()) {
    const now = found[index];
    if (!rest || !now || sameIdentity(rest, now)) continue;
    return now.size === rest.size ? edited(name) : resized(name, size, size + now.size - rest.size);
  }
  return undefined;
}
