/** What whoever watches a host hears of it: the looks of its agent, as the Temporal server has them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';
import { lookSchema, type Look } from '../domain/host.js';
import { hostWatchId } from '../domain/ids.js';
import { toIso } from '../domain/time.js';
import { heartbeatOf } from './heartbeat-details.js';

const ANSWER_TIMEOUT_MS = 5_000;
/**
 * One may have been on its way when the host fell silent. The next is asked for only when the server has taken that, and so
 * was given by a host that was alive while we listened.
 */
const LOOKS_AWAITED = 2;
/** The way of the looks that are due. ms. */
const ON_THE_WAY_MS = 4_000;
const ASK_EVERY_MS = 200;
/** The state of a pending activity that somebody has taken. */
const STARTED = 2;

export interface NewestLook extends Look {
  /** When it was asked next, or is to be, by the server's clock, ISO 8601: it has not answered that yet. */
  readonly askedAt: string;
}

/** Its newest look; undefined when nobody watches it, or it has not looked yet. @throws the errors of the client. */
export async function newestLook(temporal: Client, vault: string, host: string): Promise<NewestLook | undefined> {
  const handle = temporal.workflow.getHandle(hostWatchId(vault, host));
  const { raw } = await temporal.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () => handle.describe());
  const pending = raw.pendingActivities?.find(({ activityType }) => activityType?.name === 'watchHost');
  if (!pending) return undefined;
  const [details] = await heartbeatOf(pending, temporal.options.loadedDataConverter);
  const { data: look } = lookSchema.safeParse(details);
  const askedAt = pending.state === STARTED ? pending.lastStartedTime : pending.scheduledTime;
  return look && { ...look, askedAt: askedAt ? toIso(tsToMs(askedAt)) : look.heardAt };
}

export interface Hearing {
  /** Whether it was alive while we listened. */
  readonly answers: boolean;
  /** Its newest one. */
  readonly look: NewestLook;
}

/**
 * Waits for its next look: whoever hangs is seen to poll for a minute more, but looks no more.
 * @returns undefined when nobody can tell: it is not watched, or Temporal does not say.
 */
export async function listenTo(temporal: Client, vault: string, host: string): Promise<Hearing | undefined> {
  const from = performance.now();
  const listenMs = () => LOOKS_AWAITED * (newest?.everyMs ?? 0) + ON_THE_WAY_MS;
  /** When it was heard; first what was there when we began. */
  const heard = new Set<string | undefined>();
  let newest: NewestLook | undefined;
  do {
    try {
      const look = await newestLook(temporal, vault, host);
      newest = look ?? newest;
      heard.add(newest?.heardAt);
      if (newest && heard.size > LOOKS_AWAITED) return { answers: true, look: newest };
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
    }
    await sleep(ASK_EVERY_MS);
  } while (performance.now() - from < listenMs());
  return newest && { answers: false, look: newest };
}

/** As `listenTo`, once for all who ask of one host. */
export function listener(temporal: Client, vault: string): (host: string) => Promise<Hearing | undefined> {
  const heard = new Map<string, Promise<Hearing | undefined>>();
  return (host) => {
    const hearing = heard.get(host) ?? listenTo(temporal, vault, host);
    heard.set(host, hearing);
    return hearing;
  };
}
