/** The steps by which a job copies the disks of a VM snapshot: those of the initial copy, and of a resynchronization. */
import type { JobKind } from '../domain/jobs/known-jobs.js';
import type { JobRun } from './job-run.js';
import { retentionOf } from './retention.js';

interface CopiedDisk {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

/** Goes on at the offset the last slice ended with; within a slice, at the store's own record of what arrived. */
export async function copyDisks<K extends JobKind>(
  run: JobRun<K>,
  epoch: number,
  disks: readonly CopiedDisk[],
): Promise<void> {
  const { vm, policy } = run.input;
  const total = disks.reduce((sum, disk) => sum + disk.size, 0);
  let before = 0;
  for (const disk of disks) {
    await run.loop(
      `copy disk ${disk.name}`,
      0,
      async (fromOffset) => {
        const slice = await run.source.copyDisk({
          vm,
          epoch,
          disk: disk.name,
          fromOffset,
          retention: retentionOf(policy),
        });
        // The replica is a little larger than a disk of no whole number of MiB.
        await run.report(before + Math.min(slice.nextOffset, disk.size), total, slice.sentBytes);
        return slice;
      },
      (_, slice) => ({ state: slice.nextOffset, done: slice.done }),
    );
    before += disk.size;
  }
}

/** A disk that differs is sent again: the slices that differ have lost their records, the others are not sent twice. */
export async function verifyDisks<K extends JobKind>(
  run: JobRun<K>,
  epoch: number,
  disks: readonly CopiedDisk[],
): Promise<void> {
  const { vm } = run.input;
  for (const { name: disk } of disks) {
    let attempts = 0;
    await run.step(`verify disk ${disk}`, async () => {
      attempts += 1;
      if (attempts > 1) await sendWhatIsMissing(run, epoch, disk);
      await run.target.verifySeed({ vm, epoch, disk });
    });
  }
}

async function sendWhatIsMissing<K extends JobKind>(run: JobRun<K>, epoch: number, disk: string): Promise<void> {
  const { vm, policy } = run.input;
  let offset = 0;
  for (;;) {
    const slice = await run.source.copyDisk({ vm, epoch, disk, fromOffset: offset, retention: retentionOf(policy) });
    if (slice.done) return;
    offset = slice.nextOffset;
  }
}

export async function mergeSnapshot<K extends JobKind>(run: JobRun<K>): Promise<void> {
  const { vm } = run.input;
  await run.loop(
    'merge the VM snapshot',
    -1,
    () => run.source.mergeSnapshot({ vm }),
    (_, { bytesLeft }) => ({ state: bytesLeft, done: bytesLeft === 0 }),
  );
}
