/**
 * Watches one host for the VMs that are replicated from it, id `host/<vault>/<host>`, and tells their entities the
 * news. An agent that is dead or hangs is thus noticed within a minute, however rarely changes are sent, and a VM whose
 * tracking has stopped by itself is known before its next cycle.
 *
 * The agent answers only if it has news (see `watchHost`), so a healthy host adds no events to the history. The
 * heartbeats of its looks are the host's sign of life. The watch ends when no VM is left. Restart: the news last told
 * to each entity is carried over; an entity that joins is told the current state.
 */
import {
  ActivityFailure,
  CancellationScope,
  TimeoutFailure,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  proxyActivities,
  sleep,
} from '@temporalio/workflow';
import type { SourceActivities } from '../activities/source.js';
import { TimeoutType } from '@temporalio/common';
import { toFailure } from '../domain/errors.js';
import { inMarkdown } from '../domain/markdown.js';
import { lookSchema, type HostNews, type HostState, type HostTrouble, type Look } from '../domain/host.js';
import { protectedItemId, taskQueues } from '../domain/ids.js';
import { toIso, toMs } from '../domain/time.js';
import { nowMs } from './clock.js';
import { handlersOf } from './handlers.js';
import { inputOfNextRun, shouldContinueAsNew } from './history-limit.js';
import {
  hostNewsSignal,
  hostWatchInputSchema,
  watchVmSignal,
  watchedVmSchema,
  type HostWatchInput,
} from './messages.js';
import { showDetails } from './show-details.js';
import { neverFailing, startInput } from './start-input.js';
import { failureOf } from './step-failure.js';
import { uncancelled } from './uncancelled.js';
import { until, untilAnswered } from './wait.js';

/** A look that stays in the queue this long means that there is no agent. Starting one takes less. */
const TAKEN_WITHIN_MS = 30_000;
/**
 * A look that was taken but not answered within this time means that the host hangs or has lost power. Its polls stay
 * open for a while, and the server keeps giving them work, so the look is not repeated; the entities are told.
 */
const ANSWERED_WITHIN_MS = 20_000;
/** A call makes several looks, with a heartbeat each; this limit only ends one that goes on for no reason. */
const CALL_LIMIT = '1 hour';
const UNANSWERED = 'TemporalTimeout:Heartbeat';
/** For a host that is known to be silent: it takes the look from its queue once it is back. */
const TAKEN_WITHIN_WHILE_SILENT_MS = 60_000;
const AGAIN_MS = 3_000;
/** After a failure other than silence, which has taken its time already. */
const PAUSE_AFTER_FAILURE = '1 minute';

const watching = (vault: string, host: string, isSilent: boolean) =>
  proxyActivities<Pick<SourceActivities, 'watchHost'>>({
    taskQueue: taskQueues.host(vault, host),
    scheduleToStartTimeout: isSilent ? TAKEN_WITHIN_WHILE_SILENT_MS : TAKEN_WITHIN_MS,
    heartbeatTimeout: ANSWERED_WITHIN_MS,
    startToCloseTimeout: CALL_LIMIT,
    retry: {
      // For looks that failed unintentionally; otherwise the agent itself says when it wants to be asked again.
      initialInterval: AGAIN_MS,
      backoffCoefficient: 1,
      maximumInterval: AGAIN_MS,
      nonRetryableErrorTypes: [UNANSWERED],
    },
    summary: `Look at host ${host}`,
  });

type Sign = Pick<HostState, 'heardAt' | 'clockAheadMs'>;

export async function hostWatch(raw: HostWatchInput): Promise<void> {
  const input = startInput(hostWatchInputSchema, raw, raw?.told);
  return uncancelled(() => neverFailing(() => new HostWatch(input).run()));
}

class HostWatch {
  private readonly vms: Set<string>;
  /** By VM: the state its entity was last told, as JSON. */
  private readonly told: Map<string, string>;
  private state: HostState | undefined;
  private trouble: HostTrouble | undefined;
  /** The host's last sign of life. */
  private heard: Sign;

  constructor(private readonly input: HostWatchInput) {
    this.vms = new Set(input.vms);
    this.told = new Map(Object.entries(input.told ?? {}));
    this.state = input.state;
    this.trouble = input.trouble;
    this.heard = signOf(input.trouble?.heardAt === undefined ? input.state : input.trouble);
    handlersOf(input.tuning).onSignal(watchVmSignal, watchedVmSchema, ({ vm, watched }) => {
      // A VM that joins, perhaps again, may not know the state that was told before.
      this.told.delete(vm);
      if (watched) this.vms.add(vm);
      else this.vms.delete(vm);
    });
    this.publish();
  }

  async run(): Promise<void> {
    while (this.vms.size > 0) {
      if (shouldContinueAsNew()) await this.continueAsNew();
      await this.tellEntities();
      await this.look();
    }
    await untilAnswered();
  }

  /** Resolves when there is news, or an entity that has not been told the state. */
  private async look(): Promise<void> {
    const { vault, host } = this.input;
    const { state } = this;
    const scope = new CancellationScope();
    const untold = () => this.state !== undefined && [...this.vms].some((vm) => !this.told.has(vm));
    try {
      const news = await scope.run(() =>
        Promise.race([
          watching(vault, host, this.trouble !== undefined).watchHost(state ? { known: state } : {}),
          until(() => untold() || this.vms.size === 0 || shouldContinueAsNew()),
        ]),
      );
      if (news) this.learn(news);
    } catch (error) {
      if (isCancellation(error)) throw error;
      const silentSince = silence(error, this.trouble !== undefined);
      const failure = silentSince === undefined ? failureOf(error) : toFailure('AgentNotAnswering');
      this.learn({ failure, stopped: state?.stopped ?? {}, ...signOf(lastLook(error)) }, silentSince);
      await this.tellEntities();
      if (silentSince === undefined) await sleep(PAUSE_AFTER_FAILURE);
    } finally {
      // Cancels the one that is still waiting.
      scope.cancel();
    }
  }

  /** @param since start of a failure, ms. */
  private learn(state: HostState, since = state.askedAt === undefined ? nowMs() : toMs(state.askedAt)): void {
    this.state = state;
    const { failure } = state;
    if (state.heardAt !== undefined) this.heard = signOf(state);
    if (!failure) this.trouble = undefined;
    else if (this.trouble?.failure.code !== failure.code) {
      this.trouble = { failure, since: this.trouble?.since ?? toIso(since), ...this.heard };
    }
    this.publish();
  }

  private async tellEntities(): Promise<void> {
    if (!this.state) return;
    for (const vm of [...this.vms]) {
      const stopped = this.state.stopped[vm];
      const news: HostNews = { ...(this.trouble && { trouble: this.trouble }), ...(stopped && { stopped }) };
      const text = JSON.stringify(news);
      if (this.told.get(vm) === text) continue;
      this.told.set(vm, text);
      try {
        await getExternalWorkflowHandle(protectedItemId(this.input.vault, vm)).signal(hostNewsSignal, news);
      } catch (error) {
        if (isCancellation(error)) throw error;
        log.info('The protection of a VM has ended; its host is no longer watched for it', { vm });
        this.vms.delete(vm);
        this.told.delete(vm);
      }
    }
  }

  private publish(): void {
    const { host } = this.input;
    const { trouble } = this;
    showDetails([
      trouble
        ? `**${host}**: ${inMarkdown(trouble.failure.message)}, since ${trouble.since}${trouble.heardAt === undefined ? '' : `, last heard at ${trouble.heardAt}`}. ${inMarkdown(trouble.failure.remedy)}`
        : `**${host}** ${this.state ? 'answers' : 'has not been checked yet'}.`,
    ]);
  }

  private async continueAsNew(): Promise<never> {
    await untilAnswered();
    const { state: _, trouble: __, ...input } = inputOfNextRun(this.input);
    return continueAsNew<typeof hostWatch>({
      ...input,
      vms: [...this.vms],
      told: Object.fromEntries(this.told),
      ...(this.state && { state: this.state }),
      ...(this.trouble && { trouble: this.trouble }),
    });
  }
}

/** The agent's last sign of life before it fell silent: the timeout carries the newest heartbeat of any attempt. */
function lastLook(error: unknown): Look | undefined {
  const timeout = timeoutOf(error);
  return timeout && lookSchema.safeParse(timeout.lastHeartbeatDetails).data;
}

/** @returns since when the agent has not answered, ms; undefined if it failed for another reason. */
function silence(error: unknown, isKnown: boolean): number | undefined {
  switch (timeoutOf(error)?.timeoutType) {
    case TimeoutType.SCHEDULE_TO_START:
      return nowMs() - (isKnown ? TAKEN_WITHIN_WHILE_SILENT_MS : TAKEN_WITHIN_MS);
    case TimeoutType.HEARTBEAT:
      // When the look that followed the last one was due.
      return nowMs() - ANSWERED_WITHIN_MS + (lastLook(error)?.everyMs ?? 0);
    default:
      return undefined;
  }
}

function timeoutOf(error: unknown): TimeoutFailure | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof TimeoutFailure ? cause : undefined;
}

const signOf = (of: Sign | undefined): Sign => ({
  ...(of?.heardAt !== undefined && { heardAt: of.heardAt }),
  ...(of?.clockAheadMs !== undefined && { clockAheadMs: of.clockAheadMs }),
});
