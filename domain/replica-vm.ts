/** A replica VM and its own writes: those since its disks were made from a recovery point. */
import { z } from 'zod';
import { formatBytes } from './bytes.js';
import { counted } from './counted.js';
import { nameSchema } from './ids.js';

/** The parts of a disk that may differ from the recovery point. */
export const writtenDiskSchema = z.object({
  name: nameSchema,
  /** Total length of these parts. They are whole blocks of the disk's overlay, so this is an upper bound. */
  bytes: z.int().min(0),
  ranges: z.int().min(0),
});
export type WrittenDisk = z.infer<typeof writtenDiskSchema>;

export const replicaVmStateSchema = z.object({
  power: z.enum(['Running', 'Off', 'NotThere']),
  /** Empty if there is no such VM. */
  written: z.array(writtenDiskSchema),
  /** Why it is unknown what has been written. */
  problem: z.string().optional(),
});
export type ReplicaVmState = z.infer<typeof replicaVmStateSchema>;

/** The writes that are discarded with a replica VM, as part of a sentence. */
export function writesText({
  power,
  written,
  problem,
}: Pick<ReplicaVmState, 'written' | 'problem'> & { power?: string }): string {
  if (problem !== undefined) return `everything written by its replica VM (how much is unknown: ${problem})`;
  if (power === 'NotThere') return 'nothing: there is no replica VM';
  const total = written.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total === 0) return 'nothing: its replica VM has not written to any disk';
  const disks = written.map(({ name, bytes, ranges }) =>
    bytes === 0 ? `${name} nothing` : `${name} ${formatBytes(bytes)} in ${counted(ranges, 'range')}`,
  );
  return `at most ${formatBytes(total)} written by its replica VM (${disks.join(', ')})`;
}
