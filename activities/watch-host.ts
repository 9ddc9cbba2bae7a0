/** The agent's look at its own host. */
import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { CatalogueError, toFailure } from '../domain/errors.js';
import { CLOCKS_AGREE_MS, lookEveryMs, sameHostState, type HostState, type Look } from '../domain/host.js';
import { toIso } from '../domain/time.js';
import type { VmInventory } from '../ports/hypervisor-vm.js';

/** A hypervisor that takes longer hangs, ms; well below the agent's own limit (`workflows/host-watch.ts`). */
const HYPERVISOR_ANSWERS_MS = 8_000;
/** Number of looks from which the difference of the clocks is estimated. */
const LOOKS_COMPARED = 20;

type Sign = Omit<Look, 'everyMs'>;

/** @param everyMs time between two looks. */
export function hostActivities(inventory: Pick<VmInventory, 'listVms'>, everyMs = lookEveryMs(1)) {
  let heard: Sign | undefined;
  const clock = new ServerClock();

  async function stateOf(known: HostState | undefined): Promise<HostState> {
    try {
      const stopped: HostState['stopped'] = {};
      for (const { name, tracking } of await inTime(inventory.listVms())) {
        if (tracking?.resyncCause !== undefined) stopped[name] = { epoch: tracking.epoch, cause: tracking.resyncCause };
      }
      heard = clock.sign(Date.now());
      return { stopped, ...heard };
    } catch (error) {
      if (!(error instanceof CatalogueError)) throw error;
      return { failure: toFailure(error.code, error.message), stopped: known?.stopped ?? {}, ...heard };
    }
  }

  return {
    /**
     * Returns only news. Without news it fails on purpose: the server then calls it again after a while, which leaves
     * no event in the history of the waiting workflow, however long it waits. Each heartbeat carries the time when the
     * host was last heard. The server shows that to readers, and includes it in the timeout if a call is no longer
     * answered.
     * @throws ApplicationFailure Unchanged, retryable
     */
    async watchHost({ known }: { known?: HostState }): Promise<HostState> {
      const context = Context.current();
      clock.asked(context.info.currentAttemptScheduledTimestampMs, Date.now());
      const state = await stateOf(known);
      if (heard) context.heartbeat({ ...heard, everyMs } satisfies Look);
      if (known && sameHostState(known, state)) {
        throw ApplicationFailure.create({
          type: 'Unchanged',
          message: 'Nothing has changed on this host; the next look follows',
          category: ApplicationFailureCategory.BENIGN,
          nextRetryDelay: everyMs,
        });
      }
      return state;
    },
  };
}

/**
 * The clock of the Temporal server, as estimated by a worker: each call carries the time for which it was scheduled,
 * and arrives a little later. The call with the shortest delay gives the best estimate.
 */
class ServerClock {
  /** For the newest looks: difference between this clock and the server's, ms, plus the delay. */
  #ahead: readonly number[] = [];

  /** @param scheduledAt by the server's clock, ms. @param now by this machine's clock, ms. */
  asked(scheduledAt: number, now: number): void {
    this.#ahead = [...this.#ahead, now - scheduledAt].slice(-LOOKS_COMPARED);
  }

  sign(now: number): Sign {
    // A single look may have waited for the agent to start.
    const ahead = this.#ahead.length < 2 ? 0 : Math.min(...this.#ahead);
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
