/** The steps by which an initial copy or a resynchronization copies the disks of a VM snapshot. */
import type { JobKind } from '../domain/jobs/known-jobs.js';
import type { JobRun } from './job-run.js';
import { retentionOf } from './retention.js';

interface CopiedDisk {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

/**
 * Continues at the offset where the last slice ended; within a slice, at the store's record of the data that has
 * arrived.
 */
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
        // If a disk's size is not a whole number of MiB, its replica is a little larger.
        await run.report(before + Math.min(slice.nextOffset, disk.size), total, slice.sentBytes);
        return slice;
      },
      (_, slice) => ({ state: slice.nextOffset, done: slice.done }),
    );
    before += disk.size;
  }
}

/** Sends a disk again if it differs. Only the differing slices have lost their records, so only they are sent. */
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
