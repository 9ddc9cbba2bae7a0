/** The agent's watch over its own host. */
import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory, CancelledFailure } from '@temporalio/common';
import { CatalogueError, toFailure } from '../domain/errors.js';
import { CLOCKS_AGREE_MS, lookEveryMs, sameHostState, type HostState, type Look } from '../domain/host.js';
import { toIso } from '../domain/time.js';
import type { VmInventory } from '../ports/hypervisor-vm.js';
import { beatsItself } from './keep-alive.js';

/**
 * A hypervisor that takes longer to answer is considered hung, ms. Well below the agent's own limit
 * (`workflows/host-watch.ts`).
 */
const HYPERVISOR_ANSWERS_MS = 8_000;
/**
 * Number of looks in one call. A heartbeat costs the server half as much as another call. But each call carries the
 * server's time, and a call that a dead agent had taken must end.
 */
const LOOKS_A_CALL = 20;
/** Number of calls from which the difference of the clocks is estimated. */
const CALLS_COMPARED = 4;
/** The most that a heartbeat takes to reach the server on a machine that is not overloaded, ms. */
const BEAT_TAKES_MS = 100;
/** The most that the server then takes to call again, ms. */
const CALL_TAKES_MS = 400;
const SOONEST_MS = 50;

type Sign = Omit<Look, 'everyMs'>;

/** @param everyMs time between two looks. */
export function hostActivities(inventory: Pick<VmInventory, 'listVms'>, everyMs = lookEveryMs(1)) {
  let heard: Sign | undefined;
  const clock = new ServerClock();

  async function stateOf(known: HostState | undefined): Promise<HostState> {
    const askedAt = Date.now();
    try {
      const stopped: HostState['stopped'] = {};
      for (const { name, tracking } of await inTime(inventory.listVms())) {
        if (tracking?.resyncCause !== undefined) stopped[name] = { epoch: tracking.epoch, cause: tracking.resyncCause };
      }
      heard = clock.sign(Date.now());
      return { stopped, ...heard };
    } catch (error) {
      if (!(error instanceof CatalogueError)) throw error;
      const failure = toFailure(error.code, error.message);
      return { failure, stopped: known?.stopped ?? {}, ...heard, askedAt: clock.sign(askedAt).heardAt };
    }
  }

  /** Shows that the agent is alive, and when it last heard its hypervisor. */
  function beat(context: Context): void {
    // A beat that says nothing would take away what an earlier call has said.
    context.heartbeat(heard ? ({ ...heard, everyMs } satisfies Look) : context.info.heartbeatDetails);
  }

  /** A hypervisor that takes its time, or hangs, does not make its agent look dead. */
  async function beatingMeanwhile(context: Context, look: Promise<HostState>): Promise<HostState> {
    const beating = setInterval(() => beat(context), everyMs);
    return look.finally(() => clearInterval(beating));
  }

  return {
    /**
     * Looks again and again, and returns only news. Without news it fails on purpose after some looks: the server then
     * calls it again, which leaves no event in the history of the waiting workflow, however long it waits. Each heartbeat
     * carries the time when the host was last heard. The server shows that to readers, and includes it in the timeout if
     * the heartbeats stop.
     * @throws ApplicationFailure Unchanged, retryable
     */
    async watchHost({ known }: { known?: HostState }): Promise<HostState> {
      const context = Context.current();
      beatsItself(context);
      clock.asked(context.info.currentAttemptScheduledTimestampMs, Date.now());
      const looks = clock.isKnown ? LOOKS_A_CALL : 1;
      for (let look = 1; ; look += 1) {
        const begun = performance.now();
        const state = await beatingMeanwhile(context, stateOf(known));
        beat(context);
        if (!known || !sameHostState(known, state)) return state;
        if (look >= looks) throw unchanged(everyMs);
        const pauseMs = everyMs - BEAT_TAKES_MS - (performance.now() - begun);
        // If the worker is shutting down, end immediately, so that another worker can continue.
        await context.sleep(Math.max(SOONEST_MS, pauseMs)).catch(stopped);
      }
    },
  };
}

const unchanged = (everyMs: number): ApplicationFailure =>
  ApplicationFailure.create({
    type: 'Unchanged',
    message: 'Nothing has changed on this host; the next look follows',
    category: ApplicationFailureCategory.BENIGN,
    nextRetryDelay: Math.max(SOONEST_MS, everyMs - CALL_TAKES_MS),
  });

function stopped(error: unknown): never {
  throw error instanceof CancelledFailure ? unchanged(0) : error;
}

/**
 * The clock of the Temporal server, as estimated by a worker: each call carries the time for which it was scheduled,
 * and arrives a little later. The call with the shortest delay gives the best estimate.
 */
class ServerClock {
  /** For the newest calls: difference between this clock and the server's, ms, plus the delay. */
  #ahead: readonly number[] = [];

  /** @param scheduledAt by the server's clock, ms. @param now by this machine's clock, ms. */
  asked(scheduledAt: number, now: number): void {
    this.#ahead = [...this.#ahead, now - scheduledAt].slice(-CALLS_COMPARED);
  }

  /** A single call may have waited for the agent to start. */
  get isKnown(): boolean {
    return this.#ahead.length > 1;
  }

  sign(now: number): Sign {
    const ahead = this.isKnown ? Math.min(...this.#ahead) : 0;
    const clockAheadMs = Math.abs(ahead) < CLOCKS_AGREE_MS ? 0 : Math.round(ahead);
    return { heardAt: toIso(now - clockAheadMs), ...(clockAheadMs !== 0 && { clockAheadMs }) };
  }
}

/** @throws CatalogueError HypervisorUnreachable */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new CatalogueError('HypervisorUnreachable', `no answer within ${HYPERVISOR_ANSWERS_MS / 1000} s`));
    }, HYPERVISOR_ANSWERS_MS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
    // A late answer is ignored.
    answer.catch(() => undefined);
  }
}
