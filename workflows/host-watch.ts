/**
 * Watches one host for the VMs that are replicated from it, id `host/<vault>/<host>`, and tells their entities what is
 * new: so an agent that is dead, or hangs, shows within a minute however rarely changes are sent, and a VM whose tracking has
 * stopped by itself does not wait for its next cycle to say so.
 *
 * The agent answers only with news (see `watchHost`): a host that is well costs no event, whatever the time. What its looks
 * hear is the host's sign of life, for whoever asks. Ends when no VM is left. Restart: what each entity was told is carried;
 * one that joins is told how things are.
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
import { lookSchema, type HostNews, type HostState, type HostTrouble } from '../domain/host.js';
import { protectedItemId, taskQueues } from '../domain/ids.js';
import { toIso } from '../domain/time.js';
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

/** A look that nobody has taken from the queue: the agent is not there. Starting one takes less. */
const TAKEN_WITHIN_MS = 30_000;
/**
 * One that was taken, and is not answered. A host that hangs, or whose plug was pulled, has its polls open still, and the
 * server goes on giving them work, so that is not asked again and again but told.
 */
const ANSWERED_WITHIN_MS = 15_000;
const UNANSWERED = 'TemporalTimeout:StartToClose';
/** Of a host that is known to be silent: it takes what lies in its queue once it is back. */
const TAKEN_WITHIN_WHILE_SILENT_MS = 60_000;
const AGAIN_MS = 3_000;
/** After a failure that is not silence, which has taken its time already. */
const PAUSE_AFTER_FAILURE = '1 minute';

const watching = (vault: string, host: string, isSilent: boolean) =>
  proxyActivities<Pick<SourceActivities, 'watchHost'>>({
    taskQueue: taskQueues.host(vault, host),
    scheduleToStartTimeout: isSilent ? TAKEN_WITHIN_WHILE_SILENT_MS : TAKEN_WITHIN_MS,
    startToCloseTimeout: ANSWERED_WITHIN_MS,
    retry: {
      // Of what failed by no will of its own; the agent says itself when it looks again.
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
  /** By VM: what its entity was told last, as JSON. */
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
      // One that joins, perhaps again, may not know what was told before.
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

  /** Until there is news, or somebody to tell them to. */
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
      this.learn({ failure, stopped: state?.stopped ?? {}, ...lastLook(error) }, silentSince);
      await this.tellEntities();
      if (silentSince === undefined) await sleep(PAUSE_AFTER_FAILURE);
    } finally {
      // Whichever of the two is left.
      scope.cancel();
    }
  }

  /** @param since of a failure, ms. */
  private learn(state: HostState, since = nowMs()): void {
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

/** What the agent heard last before it fell silent: the server hands on its newest heartbeat, whichever attempt sent it. */
function lastLook(error: unknown): Sign {
  const timeout = timeoutOf(error);
  return signOf(timeout && lookSchema.safeParse(timeout.lastHeartbeatDetails).data);
}

/** @returns since when the agent has not answered, ms; undefined when that is not what it failed for. */
function silence(error: unknown, isKnown: boolean): number | undefined {
  switch (timeoutOf(error)?.timeoutType) {
    case TimeoutType.SCHEDULE_TO_START:
      return nowMs() - (isKnown ? TAKEN_WITHIN_WHILE_SILENT_MS : TAKEN_WITHIN_MS);
    case TimeoutType.START_TO_CLOSE:
      return nowMs() - ANSWERED_WITHIN_MS;
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
