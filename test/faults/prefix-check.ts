/**
 * Is a copy of a VM's disks what the VM held at one instant? Read from any source, the disks have to hold an exact prefix
 * of what an ordered guest wrote: all of what was acknowledged before the instant, nothing that was written after it.
 */
import { open } from 'node:fs/promises';
import { verifyNumbered, type BlockSource } from '../../sites/nbd/numbered-writer.js';
import { blocksOf, diskIdOf, type GuestJournal } from './ordered-guest.js';

export interface PrefixReport {
  /** How many of the guest's blocks the copy holds. */
  readonly last: number;
  /** What is wrong with it; empty when it is an exact prefix. */
  readonly faults: readonly string[];
}

/**
 * @param sources the disks, in the order of the journal.
 * @param instant ms since 1970, of the clock that the journal is kept by.
 */
export async function checkPrefix(
  journal: GuestJournal,
  sources: readonly BlockSource[],
  instant: number,
): Promise<PrefixReport> {
  const { vm, disks, region, issuedAt, acknowledgedAt, flushes } = journal;
  const faults: string[] = [];
  const lasts: number[] = [];
  for (const [index, disk] of disks.entries()) {
    const report = await verifyNumbered(sources[index]!, diskIdOf(vm, disk), region);
    lasts.push(report.last);
    faults.push(...report.faults.map((fault) => `${disk}, ${fault}`));
  }
  const last = lasts.reduce((sum, own) => sum + own, 0);
  for (const [index, disk] of disks.entries()) {
    const expected = blocksOf(last, index, disks.length);
    if (lasts[index] !== expected) {
      faults.push(`the disks are of two instants: of ${last} blocks ${disk} holds ${lasts[index]}, not ${expected}`);
    }
  }
  const flushed = flushes.findLast(({ at }) => at < instant)?.number ?? 0;
  if (last < flushed) faults.push(`holds ${last} blocks, although ${flushed} were flushed before its instant`);
  // A process that is killed loses nothing: more than flushed, everything acknowledged has to be there.
  const acknowledged = before(acknowledgedAt, instant);
  if (last < acknowledged) faults.push(`holds ${last} blocks, although ${acknowledged} were acknowledged before`);
  const issued = before(issuedAt, instant + 1);
  if (last > issued) faults.push(`holds ${last} blocks, although only ${issued} had been written by its instant`);
  return { last, faults };
}

/** How many of these times, which rise, are earlier. */
function before(times: readonly number[], instant: number): number {
  const later = times.findIndex((time) => time >= instant);
  return later < 0 ? times.length : later;
}

/** Calls back with plain readers of files whose first byte is the disk's first: raw images and fixed VHDs. */
export async function withFiles<T>(
  files: readonly string[],
  work: (sources: readonly BlockSource[]) => Promise<T>,
): Promise<T> {
  const handles = await Promise.all(files.map((file) => open(file, 'r')));
  try {
    return await work(
      handles.map((handle) => ({
        async read(target, offset) {
          const { bytesRead } = await handle.read(target, 0, target.length, offset);
          if (bytesRead < target.length) throw new RangeError(`the file ends ${target.length - bytesRead} bytes early`);
        },
      })),
    );
  } finally {
    await Promise.all(handles.map((handle) => handle.close()));
  }
}
