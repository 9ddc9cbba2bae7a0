/**
 * What is known of a host between two cycles: whether everything there answers, and whether all its VMs are still
 * tracked.
 */
import { z } from 'zod';
import { failureSchema } from './errors.js';
import { nameSchema } from './ids.js';
import { isoTimeSchema } from './time.js';

/** Looks of all agents together, per second: their cost for the server does not grow with the site. */
const LOOKS_A_SECOND = 3;
const SOONEST_MS = 750;
const LATEST_MS = 10_000;

/**
 * How often an agent looks at its host and reports to the server: a healthy host is not heard of for up to this long.
 * The time of a host's death can't be known more precisely.
 * @param hosts number of hosts in the site.
 * @returns ms
 */
export const lookEveryMs = (hosts: number): number =>
  Math.min(LATEST_MS, Math.max(SOONEST_MS, Math.ceil((hosts * 1000) / LOOKS_A_SECOND)));

/** Well-kept clocks and the way of a message account for up to this difference, so a smaller one counts as none, ms. */
export const CLOCKS_AGREE_MS = 2_000;

/** A sign of life of a host: its hypervisor has answered its agent. */
const hostSignSchema = z.object({
  /** When it gave the last one, by the Temporal server's clock, as far as it is known. */
  heardAt: isoTimeSchema.optional(),
  /** How far the host's clock is ahead of the server's; absent while they agree. */
  clockAheadMs: z.int().optional(),
});

export const hostTroubleSchema = hostSignSchema.extend({
  failure: failureSchema,
  /** When it was asked for what it has not answered since, by the server's clock. */
  since: isoTimeSchema,
});
export type HostTrouble = z.infer<typeof hostTroubleSchema>;

const stoppedTrackingSchema = z.object({ epoch: z.int(), cause: z.string() });

export const hostStateSchema = hostSignSchema.extend({
  /** Why the host can't be asked; undefined while it answers. */
  failure: failureSchema.optional(),
  /** When the hypervisor was asked for what it has not answered, ISO 8601; set together with a failure. */
  askedAt: isoTimeSchema.optional(),
  /** Keyed by VM: tracking that has stopped without a request. */
  stopped: z.record(z.string(), stoppedTrackingSchema),
});
export type HostState = z.infer<typeof hostStateSchema>;

/** What the heartbeat of each look at a host carries, whatever the look finds. */
export const lookSchema = hostSignSchema.required({ heardAt: true }).extend({
  /** The next look is due this long after this one, ms. */
  everyMs: z.int().default(SOONEST_MS),
});
export type Look = z.infer<typeof lookSchema>;

/** News of a host that concern one VM. */
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
