/** What is known of a host between two cycles: does everything there answer, and are all its VMs still tracked? */
import { z } from 'zod';
import { failureSchema } from './errors.js';
import { nameSchema } from './ids.js';
import { isoTimeSchema } from './time.js';

/** Looks of all agents together, in a second: what they cost the server does not grow with the site. */
const LOOKS_A_SECOND = 3;
const SOONEST_MS = 750;
const LATEST_MS = 10_000;

/**
 * How often an agent looks at its host, and says so to the server: a host is not heard of for so long while it is well. What
 * is lost of a dead host can't be told more closely than this.
 * @param hosts of the site. @returns ms
 */
export const lookEveryMs = (hosts: number): number =>
  Math.min(LATEST_MS, Math.max(SOONEST_MS, Math.ceil((hosts * 1000) / LOOKS_A_SECOND)));

/** What clocks that are kept right differ by, and the way there and back: less is none. ms. */
export const CLOCKS_AGREE_MS = 2_000;

/** A sign of life of a host: the hypervisor there has answered its agent. */
const hostSignSchema = z.object({
  /** When it gave the last one, by the clock of the Temporal server, as far as that is known. */
  heardAt: isoTimeSchema.optional(),
  /** How far the host's clock is ahead of the server's; left out while they agree. */
  clockAheadMs: z.int().optional(),
});

export const hostTroubleSchema = hostSignSchema.extend({
  failure: failureSchema,
  /** When it was asked what it has not answered any more, by the clock of the server. */
  since: isoTimeSchema,
});
export type HostTrouble = z.infer<typeof hostTroubleSchema>;

const stoppedTrackingSchema = z.object({ epoch: z.int(), cause: z.string() });

export const hostStateSchema = hostSignSchema.extend({
  /** Why nothing can be asked of the host; undefined while it answers. */
  failure: failureSchema.optional(),
  /** When the hypervisor was asked what it has not answered, ISO 8601; set with a failure. */
  askedAt: isoTimeSchema.optional(),
  /** By VM: tracking that has stopped without a request. */
  stopped: z.record(z.string(), stoppedTrackingSchema),
});
export type HostState = z.infer<typeof hostStateSchema>;

/** What each look at a host tells by its heartbeat, whatever it finds. */
export const lookSchema = hostSignSchema.required({ heardAt: true }).extend({
  /** The next is to come so long after it, ms. */
  everyMs: z.int().default(SOONEST_MS),
});
export type Look = z.infer<typeof lookSchema>;

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
