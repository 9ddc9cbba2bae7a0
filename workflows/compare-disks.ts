/**
 * The steps by which a resynchronization makes the replica equal to a VM snapshot. The recovery site computes digests
 * of the replica, one stretch ahead of the agent, which compares blocks and sends those that differ. Both sides work in
 * parallel.
 */
import type { JobRun } from './job-run.js';
import { retentionOf } from './retention.js';

interface ComparedDisk {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

interface Compared {
  /** The replica has been digested up to here, bytes. */
  readonly digested: number;
  readonly allDigested: boolean;
  /** Source and replica are equal up to here, bytes. */
  readonly copied: number;
  readonly digestBytes: number;
  /** How long the next stretch of digests takes, ms. */
  readonly forMs: number;
}

/**
 * The agent waits for the first stretch, so it is short. Later ones are long, because each adds events to the history.
 */
const FIRST_STRETCH_MS = 1_000;
const LONGEST_STRETCH_MS = 30_000;

/** Continues where both sides stopped; within a stretch, at the store's own records. @returns bytes of digests. */
export async function compareDisks(
  run: JobRun<'resynchronize'>,
  epoch: number,
  disks: readonly ComparedDisk[],
): Promise<number> {
  const { vm, policy } = run.input;
  const total = disks.reduce((sum, disk) => sum + disk.size, 0);
  let before = 0;
  let digestBytes = 0;
  for (const { name: disk, size } of disks) {
    const start: Compared = { digested: 0, allDigested: false, copied: 0, digestBytes: 0, forMs: FIRST_STRETCH_MS };
    const compared = await run.loop(
      `compare disk ${disk}`,
      start,
      async ({ digested, allDigested, copied, forMs }) => {
        const [digests, copy] = await toTheirEnds(
          allDigested ? undefined : run.target.digestReplica({ vm, epoch, disk, fromOffset: digested, forMs }),
          copied < digested
            ? run.source.copyDisk({
                vm,
                epoch,
                disk,
                fromOffset: copied,
                toOffset: digested,
                retention: retentionOf(policy),
              })
            : undefined,
        );
        if (copy) await run.report(before + Math.min(copy.nextOffset, size), total, copy.sentBytes);
        return { digests, copy };
      },
      (state, { digests, copy }) => ({
        state: {
          digested: digests?.nextOffset ?? state.digested,
          allDigested: state.allDigested || digests?.done === true,
          copied: copy?.nextOffset ?? state.copied,
          digestBytes: state.digestBytes + (digests?.digestBytes ?? 0),
          forMs: Math.min(state.forMs * 2, LONGEST_STRETCH_MS),
        },
        done: copy?.done === true,
      }),
    );
    digestBytes += compared.digestBytes;
    before += size;
  }
  return digestBytes;
}

/** Waits for both even if one fails: if one were left running, a retry would do its work twice at the same time. */
async function toTheirEnds<A, B>(
  one: Promise<A> | undefined,
  other: Promise<B> | undefined,
): Promise<[A | undefined, B | undefined]> {
  await Promise.allSettled([one, other]);
  return [await one, await other];
}
