/**
 * Limits of the recovery site for a VM's disks. They are checked before protection begins and before the set of disks
 * changes.
 */
const GiB = 1024 ** 3;

/** Bytes. A replica is a fixed VHD, and this is the largest that `qemu-img` and Azure open. */
export const MAX_REPLICA_BYTES = 2_040 * GiB;
/** In addition to the boot disk. */
const MAX_DATA_DISKS = 16;

export interface ExceededLimit {
  /** The disk that exceeds it; undefined if there are too many disks. */
  readonly disk?: string;
  readonly message: string;
  readonly remedy: string;
}

type SizedDisks = readonly { readonly name: string; readonly size: number }[];

/** @param disks the replicated disks, sizes in bytes. */
export function limitsExceededBy(disks: SizedDisks): ExceededLimit[] {
  const problems: ExceededLimit[] = disks
    .filter(({ size }) => size > MAX_REPLICA_BYTES)
    .map(({ name, size }) => ({
      disk: name,
      message: `disk ${name} has ${size} bytes, but a replica can hold at most ${MAX_REPLICA_BYTES} (2,040 GiB)`,
      remedy: 'shrink it, split its data over several disks, or leave it out of replication with excluded: true',
    }));
  const dataDisks = disks.length - 1;
  if (dataDisks > MAX_DATA_DISKS) {
    problems.push({
      message: `it has ${dataDisks} data disks, but at most ${MAX_DATA_DISKS} are supported`,
      remedy: 'leave the others out of replication with excluded: true',
    });
  }
  return problems;
}

/** One sentence for each exceeded limit, with its remedy. @param disks sizes in bytes. */
export const exceededLimits = (disks: SizedDisks): string[] =>
  limitsExceededBy(disks).map(({ message, remedy }) => `${message}: ${remedy}`);
