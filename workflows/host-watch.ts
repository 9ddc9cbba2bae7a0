/**
 * Watches one host for the VMs that are replicated from it, id `host/<vault>/<host>`, and tells their entities what is
 * new: so a dead agent shows within two minutes however rarely changes are sent, and a VM whose tracking has stopped by
 * itself does not wait for its next cycle to say so.
 *
 * The agent answers only with news (see `watchHost`): a host that is well costs no event, whatever the time. Ends when no VM is
 * left. Restart: what each entity was told is carried; one that joins is told how things are.
 */
import {
  ApplicationFailure,
  CancellationScope,
  allHandlersFinished,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import type { PrimaryActivities } from '../activities/primary.js';
import type { HostNews, HostState, HostTrouble } from '../domain/host.js';
import { protectedItemId, taskQueues } from '../domain/ids.js';
import { toIso } from '../domain/time.js';
import { shouldContinueAsNew } from './history-limit.js';
import { hostNewsSignal, hostWatchInputSchema, watchVmSignal, type HostWatchInput } from './messages.js';
import { atSide, failureOf } from './step-failure.js';
import { uncancelled } from './uncancelled.js';

/** How often the agent looks. With the minute that it may take to answer, its death shows within two. */
const LOOK_EVERY = '30 seconds';
/** After a failure that is not silence, which has taken its time already. */
const PAUSE_AFTER_FAILURE = '1 minute';

const watching = (host: string) =>
  proxyActivities<Pick<PrimaryActivities, 'watchHost'>>({
    taskQueue: taskQueues.host(host),
    scheduleToStartTimeout: '1 minute',
    startToCloseTimeout: '30 seconds',
    retry: { initialInterval: LOOK_EVERY, backoffCoefficient: 1, maximumInterval: LOOK_EVERY },
    summary: `Look at host ${host}`,
  });

export async function hostWatch(raw: HostWatchInput): Promise<void> {
  const parsed = hostWatchInputSchema.safeParse(raw);
  if (!parsed.success) {
    throw ApplicationFailure.nonRetryable(
      `the input of hostWatch is not valid: ${parsed.error.message}`,
      'InvalidInput',
    );
  }
  return uncancelled(() => new HostWatch(parsed.data).run());
}

class HostWatch {
  private readonly vms: Set<string>;
  /** By VM: what its entity was told last, as JSON. */
  private readonly told: Map<string, string>;
  private state: HostState | undefined;
  private trouble: HostTrouble | undefined;

  constructor(private readonly input: HostWatchInput) {
    this.vms = new Set(input.vms);
    this.told = new Map(Object.entries(input.told ?? {}));
    this.state = input.state;
    this.trouble = input.trouble;
    setHandler(watchVmSignal, ({ vm, watched }) => {
      // One that joins, perhaps again, may not know what was told before.
      this.told.delete(vm);
      if (watched) this.vms.add(vm);
      else this.vms.delete(vm);
    });
    this.publish();
  }

  async run(): Promise<void> {
    while (this.vms.size > 0) {
      if (shouldContinueAsNew(this.input.tuning)) await this.continueAsNew();
      await this.tellEntities();
      await this.look();
    }
    await condition(allHandlersFinished);
  }

  /** Until there is news, or somebody to tell them to. */
  private async look(): Promise<void> {
    const { host, tuning } = this.input;
    const { state } = this;
    const scope = new CancellationScope();
    const untold = () => this.state !== undefined && [...this.vms].some((vm) => !this.told.has(vm));
    try {
      const news = await scope.run(() =>
        Promise.race([
          watching(host).watchHost(state ? { known: state } : {}),
          condition(() => untold() || this.vms.size === 0 || shouldContinueAsNew(tuning)),
        ]),
      );
      if (news) this.learn(news);
    } catch (error) {
      if (isCancellation(error)) throw error;
      const failure = failureOf(atSide(error, 'agent'));
      const isSilent = failure.code === 'AgentNotAnswering';
      this.learn({ failure, stopped: state?.stopped ?? {} });
      await this.tellEntities();
      if (!isSilent) await sleep(PAUSE_AFTER_FAILURE);
    } finally {
      // Whichever of the two is left.
      scope.cancel();
    }
  }

  private learn(state: HostState): void {
    this.state = state;
    const { failure } = state;
    if (!failure) this.trouble = undefined;
    else if (this.trouble?.failure.code !== failure.code) {
      this.trouble = { failure, since: this.trouble?.since ?? toIso(Date.now()) };
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
        log.info('The protection of a VM has ended; its host is not watched for it any more', { vm });
        this.vms.delete(vm);
        this.told.delete(vm);
      }
    }
  }

  private publish(): void {
    const { host } = this.input;
    const { trouble } = this;
    setCurrentDetails(
      trouble
        ? `**${host}**: ${trouble.failure.message}, since ${trouble.since}. ${trouble.failure.remedy}`
        : `**${host}** ${this.state ? 'answers' : 'has not been asked yet'}.`,
    );
  }

  private async continueAsNew(): Promise<never> {
    await condition(allHandlersFinished);
    const { vault, host, tuning } = this.input;
    return continueAsNew<typeof hostWatch>({
      vault,
      host,
      vms: [...this.vms],
      told: Object.fromEntries(this.told),
      ...(this.state && { state: this.state }),
      ...(this.trouble && { trouble: this.trouble }),
      ...(tuning && { tuning }),
    });
  }
}
