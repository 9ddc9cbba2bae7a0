/**
 * Freezes the guest of a VM for the instant of a cut.
 *
 * Invariants:
 * - Before the guest is asked to freeze, and until it has confirmed its thaw, stable storage records that it may be
 *   frozen. If the hypervisor is killed in between, it thaws the guest when it starts again.
 * - The guest is thawed whether or not the cut succeeds. If the guest does not answer, the thaw is retried until it
 *   does.
 * - A cut counts as app-consistent only if the guest confirms after the cut that it is still frozen.
 */
import { compareFences, type Fence } from '../../domain/fence.js';
import { toIso } from '../../domain/time.js';
import type { CutMoment } from '../../tracking/tracker-options.js';
import type { Cut } from '../../ports/change-source.js';
import { GuestAgent } from './guest-agent.js';
import type { GuestCut, VmStateFile } from './vm-state-file.js';
import { Mutex } from '../../concurrency/mutex.js';

const THAW_TIMEOUT_MS = 5_000;
const THAW_AGAIN_MS = 1_000;

export class GuestFreezer {
  /** Thaws run one at a time. */
  readonly #turn = new Mutex();
  #again: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** @param socketPath socket of the guest agent; undefined if the VM has none. */
  constructor(
    private readonly vm: string,
    private readonly socketPath: string | undefined,
    private readonly state: VmStateFile,
    private readonly warn: (message: string, error: unknown) => void,
  ) {}

  /**
   * Thaws a guest that an earlier hypervisor process may have left frozen. Keeps retrying in the background if the
   * guest does not answer.
   */
  async thawLeftOver(): Promise<void> {
    await this.#turn.run(() => this.#thawMarked());
  }

  /** Adds to a cut the outcome that was recorded when the same cut was first made. */
  recorded(cut: Cut): Cut {
    const { guestCut } = this.state.current;
    return guestCut && compareFences(guestCut, cut) === 0 ? withOutcome(cut, guestCut) : cut;
  }

  /**
   * @param deadlineMs how long the guest may be kept frozen.
   * @param cut makes the cut and calls back before and after its instant.
   * @returns the cut, which says whether it is app-consistent, and if not, why.
   * @throws what `cut` throws.
   */
  async cut(fence: Fence, deadlineMs: number, cut: (moment: CutMoment) => Promise<Cut>): Promise<Cut> {
    let problem: string | undefined = 'its logs were already sealed before the guest was frozen';
    let frozen: GuestAgent | undefined;
    let letGo: Promise<string | undefined> | undefined;
    const by = performance.now() + deadlineMs;
    try {
      const made = await cut({
        before: async () => {
          problem = undefined;
          frozen = await this.#freeze(by).catch((error: unknown) => {
            problem = (error as Error).message;
            return undefined;
          });
        },
        after: () => {
          if (frozen) letGo = this.#letGo(frozen, by);
        },
      });
      problem ??= await letGo;
      if (this.recorded(made) === made) await this.#record(fence, problem);
      return this.recorded(made);
    } finally {
      if (frozen) await (letGo ?? this.#letGo(frozen, by));
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#again);
    await this.#turn.run(() => Promise.resolve());
  }

  /** @throws Error why the guest is not frozen; it has been thawed by then. */
  async #freeze(deadline: number): Promise<GuestAgent> {
    if (this.socketPath === undefined) throw new Error(NO_AGENT);
    if (this.state.current.frozenSince !== undefined) {
      clearTimeout(this.#again);
      const problem = await this.#turn.run(() => this.#thawMarked());
      if (problem !== undefined)
        throw new Error(`it is still frozen from an earlier attempt and can't be thawed: ${problem}`);
    }
    const agent = await GuestAgent.connect(this.socketPath, deadline);
    try {
      if (await agent.isFrozen(deadline)) throw new Error('another program has frozen it');
      await this.state.change((state) => ({ ...state, frozenSince: toIso(Date.now()) }));
      if ((await agent.freeze(deadline)) === 0) throw new Error('it has no file system that can be frozen');
      return agent;
    } catch (error) {
      agent.close();
      await this.#turn.run(() => this.#thawMarked());
      throw error;
    }
  }

  /** @returns why the cut is not app-consistent after all; undefined if it is. */
  async #letGo(agent: GuestAgent, deadline: number): Promise<string | undefined> {
    const problem = await agent.isFrozen(deadline).then(
      (isFrozen) => (isFrozen ? undefined : 'it thawed before the logs were sealed'),
      (error: unknown) => (error as Error).message,
    );
    return (await this.#turn.run(() => this.#thawMarked(agent))) ?? problem;
  }

  async #record(fence: Fence, problem: string | undefined): Promise<void> {
    const { epoch, sequence } = fence;
    const reason = this.socketPath === undefined ? 'GuestAgentMissing' : 'AppConsistentFailed';
    const message = problem === NO_AGENT ? `${this.vm} has no guest agent` : `the guest was not frozen: ${problem}`;
    const guestCut = { epoch, sequence, ...(problem !== undefined && { failure: { reason, message } as const }) };
    await this.state.change((state) => ({ ...state, guestCut }));
  }

  /** @returns why the guest could not be thawed; undefined if it was. A failed thaw is retried later. */
  async #thawMarked(connected?: GuestAgent): Promise<string | undefined> {
    let agent = connected;
    if (this.state.current.frozenSince === undefined || this.socketPath === undefined) {
      this.#again = undefined;
      return undefined;
    }
    try {
      // A broken connection may be why the guest did not answer.
      if (!agent || agent.isClosed) agent = await GuestAgent.connect(this.socketPath, thawDeadline());
      await agent.thaw(thawDeadline());
      await this.state.change(({ frozenSince: _, ...state }) => state);
      this.#again = undefined;
      return undefined;
    } catch (error) {
      if (!this.#again) this.warn(`${this.vm} may be frozen; retrying the thaw until it answers`, error);
      if (!this.#isClosed) {
        this.#again = setTimeout(() => void this.thawLeftOver(), THAW_AGAIN_MS);
      }
      return `it may still be frozen: ${(error as Error).message}`;
    } finally {
      agent?.close();
    }
  }
}

const NO_AGENT = 'no guest agent';
const thawDeadline = (): number => performance.now() + THAW_TIMEOUT_MS;

const withOutcome = (cut: Cut, { failure }: GuestCut): Cut =>
  failure ? { ...cut, appConsistentFailure: failure } : { ...cut, appConsistent: true };
