/** Finds out from the looks of a host's agent, as the Temporal server knows them, whether the host answers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';
import { lookSchema, type Look } from '../domain/host.js';
import { hostWatchId } from '../domain/ids.js';
import { toIso, toMs } from '../domain/time.js';
import { heartbeatOf } from './heartbeat-details.js';

const ANSWER_TIMEOUT_MS = 5_000;
/**
 * The first look may have been on its way when the host fell silent. The next one is requested only after the server
 * has received that, so its answer comes from a host that was alive while we listened.
 */
const LOOKS_AWAITED = 2;
/** If this many heartbeats arrive without a look, the agent is alive and the hypervisor does not answer. */
const BEATS_ENOUGH = 5;
/** Time for the looks to arrive, ms. */
const ON_THE_WAY_MS = 4_000;
const ASK_EVERY_MS = 200;
/** The state of a pending activity that a worker has taken. */
const STARTED = 2;

export interface NewestLook extends Look {
  /** When the host was or will be asked next, by the server's clock, ISO 8601; it has not answered that request yet. */
  readonly askedAt: string;
}

/** The newest look; undefined if the host is not watched, or has not looked yet. @throws the errors of the client. */
export async function newestLook(temporal: Client, vault: string, host: string): Promise<NewestLook | undefined> {
  return (await askedOf(temporal, vault, host))?.look;
}

interface Asked {
  /** Undefined if the host has not answered this watch yet. */
  readonly look?: NewestLook;
  /** The agent's newest heartbeat, by the server's clock, ms; 0 if there is none. */
  readonly beatAt: number;
}

/** @returns undefined if the host is not being asked. */
async function askedOf(temporal: Client, vault: string, host: string): Promise<Asked | undefined> {
  const handle = temporal.workflow.getHandle(hostWatchId(vault, host));
  const { raw } = await temporal.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () => handle.describe());
  const pending = raw.pendingActivities?.find(({ activityType }) => activityType?.name === 'watchHost');
  if (!pending) return undefined;
  const [details] = await heartbeatOf(pending, temporal.options.loadedDataConverter);
  const { data: look } = lookSchema.safeParse(details);
  const beatAt = pending.lastHeartbeatTime ? tsToMs(pending.lastHeartbeatTime) : 0;
  if (!look) return { beatAt };
  // The next look is due one interval after this one. If a call begins with it and has not been taken yet, it comes
  // when the call is taken.
  const dueAt = toMs(look.heardAt) + look.everyMs;
  const calledAt = pending.state === STARTED ? pending.lastStartedTime : pending.scheduledTime;
  const begunAt = calledAt ? tsToMs(calledAt) : 0;
  const askedAt = toIso(beatAt > begunAt ? dueAt : Math.max(dueAt, begunAt));
  return { look: { ...look, askedAt }, beatAt };
}

export interface Hearing {
  /** Whether the host was alive while we listened. */
  readonly answers: boolean;
  /** Whether the host's agent was alive. If it was and the host does not answer, only the hypervisor is down. */
  readonly agentAnswers: boolean;
  /** Its newest look; undefined if it has not answered since the watch last had news. */
  readonly look?: NewestLook;
}

/**
 * Waits for the host's next look: a worker that hangs still seems to poll for another minute, but no longer looks.
 * @returns undefined if the answer is unknown: the host is not watched, or Temporal does not answer.
 */
export async function listenTo(temporal: Client, vault: string, host: string): Promise<Hearing | undefined> {
  const from = performance.now();
  const listenMs = () => LOOKS_AWAITED * (newest?.everyMs ?? 0) + ON_THE_WAY_MS;
  /** Times at which the host was heard, and times of its agent's heartbeats, including those known at the start. */
  const heard = new Set<string | undefined>();
  const beats = new Set<number>();
  let newest: NewestLook | undefined;
  let isAsked = false;
  do {
    try {
      const asked = await askedOf(temporal, vault, host);
      isAsked ||= asked !== undefined;
      newest = asked?.look ?? newest;
      heard.add(newest?.heardAt);
      if (asked) beats.add(asked.beatAt);
      if (newest && heard.size > LOOKS_AWAITED) return { answers: true, agentAnswers: true, look: newest };
      if (heard.size === 1 && beats.size > BEATS_ENOUGH) break;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
    }
    await sleep(ASK_EVERY_MS);
  } while (performance.now() - from < listenMs());
  if (!isAsked) return undefined;
  return { answers: false, agentAnswers: beats.size > LOOKS_AWAITED, ...(newest && { look: newest }) };
}

/** Like `listenTo`, but listens only once for all callers that ask about the same host. */
export function listener(temporal: Client, vault: string): (host: string) => Promise<Hearing | undefined> {
  const heard = new Map<string, Promise<Hearing | undefined>>();
  return (host) => {
    const hearing = heard.get(host) ?? listenTo(temporal, vault, host);
    heard.set(host, hearing);
    return hearing;
  };
}
