/** What is known of a host between two cycles: does everything there answer, and are all its VMs still tracked? */
import { z } from 'zod';
import { failureSchema } from './errors.js';
import { nameSchema } from './ids.js';
import { isoTimeSchema } from './time.js';

export const hostTroubleSchema = z.object({ failure: failureSchema, since: isoTimeSchema });
export type HostTrouble = z.infer<typeof hostTroubleSchema>;

const stoppedTrackingSchema = z.object({ epoch: z.int(), cause: z.string() });

export const hostStateSchema = z.object({
  /** Why nothing can be asked of the host; undefined while it answers. */
  failure: failureSchema.optional(),
  /** By VM: tracking that has stopped by itself. */
  stopped: z.record(z.string(), stoppedTrackingSchema),
});
export type HostState = z.infer<typeof hostStateSchema>;

/** What concerns one VM. */
export const hostNewsSchema = z.object({
  trouble: hostTroubleSchema.optional(),
  stopped: stoppedTrackingSchema.optional(),
});
export type HostNews = z.infer<typeof hostNewsSchema>;

/** Where a VM was found, and what the hypervisor there knows of its tracking. */
export const locatedVmSchema = z.object({
  host: nameSchema,
  tracking: z.object({ epoch: z.int(), resyncCause: z.string().optional() }).optional(),
});
export type LocatedVm = z.infer<typeof locatedVmSchema>;

export const sameHostState = (a: HostState, b: HostState): boolean =>
  a.failure?.code === b.failure?.code && stoppedText(a) === stoppedText(b);

const stoppedText = ({ stopped }: HostState): string =>
  Object.entries(stopped)
    .map(([vm, { epoch, cause }]) => `${vm} ${epoch} ${cause}`)
    .toSorted((one, other) => one.localeCompare(other))
    .join('\n');
