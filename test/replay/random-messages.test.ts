/**
 * A refused update leaves no event, and yet wakes whatever waits for a condition. What goes by the clock there begins
 * something that no replay comes to: the next worker can't take the VM over. So messages, refused ones and others, come at
 * random instants around those at which something is due by itself, and every history has to replay.
 *
 * On a real server: it alone leaves nothing of an update that was refused.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { WorkflowHandle } from '@temporalio/client';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { toFailure } from '../../domain/errors.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { toIso } from '../../domain/time.js';
import type { protectVm } from '../../workflows/index.js';
import * as messages from '../../workflows/messages.js';
import { realTime } from '../workflows/real-time.js';
import { workflowBundle } from '../workflows/workflow-worker.js';
import { replay, type History } from './replayed.js';

const real = realTime();

type Entity = WorkflowHandle<typeof protectVm>;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] });
const nobody = { jobId: 'job/of/nobody' };

const refused: Record<string, (entity: Entity) => Promise<unknown>> = {
  'what the state does not allow': (entity) => entity.executeUpdate(messages.jobUpdates.commitFailover, request()),
  'what nobody can read': (entity) => entity.executeUpdate(messages.syncUpdate, { args: [{ requestId: '' }] }),
};
const taken: Record<string, (entity: Entity) => Promise<unknown>> = {
  pause: (entity) => entity.executeUpdate(messages.pauseUpdate, request()),
  resume: (entity) => entity.executeUpdate(messages.resumeUpdate, request()),
  sync: (entity) => entity.executeUpdate(messages.syncUpdate, request()),
  'a test failover': (entity) => entity.executeUpdate(messages.jobUpdates.testFailover, request()),
  'its clean-up': (entity) => entity.executeUpdate(messages.jobUpdates.cleanupTestFailover, request()),
  'news of no job': (entity) => entity.signal(messages.jobProgressedSignal, nobody),
  'news of the host': (entity) => entity.signal(messages.hostNewsSignal, {}),
};

/** What becomes due by itself, at an instant. */
const due: Record<string, (at: string, ms: number) => Partial<ProtectedItem>> = {
  'a cycle': (cycleDueAt) => ({ cycleDueAt }),
  'the next try of a cycle': (nextTryAt, ms) => {
    const failure = toFailure('StoreUnreachable', 'away');
    return { cycleDueAt: toIso(ms - 60_000), retry: { failure, attempt: 2, since: toIso(ms - 60_000), nextTryAt } };
  },
  'a worse health': (_, ms) => ({
    cycleDueAt: toIso(ms + 900_000),
    hostTrouble: { failure: toFailure('HypervisorUnreachable', 'away'), since: toIso(ms - 120_000) },
    alertedHealth: 'Warning',
  }),
  'the clean-up of a test failover': (cleanUpAt, ms) => ({
    cycleDueAt: toIso(ms + 900_000),
    drill: { testVm: 'vm-test', since: toIso(ms - 60_000), cleanUpAt },
  }),
  'a resynchronization': (dueAt, ms) => ({ resync: { cause: 'a test', since: toIso(ms - 60_000), dueAt } }),
};

/** Around the instant at which something is due, ms. */
const EARLY = -30;
const LATE = 120;
const message = fc.record({
  at: fc.integer({ min: EARLY, max: LATE }),
  // What is taken changes the state, so that nothing is due any more: seldom.
  what: fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom(...Object.keys(refused)) },
    { weight: 1, arbitrary: fc.constantFrom(...Object.keys(taken)) },
  ),
});
const life = fc.record({
  due: fc.constantFrom(...Object.keys(due)),
  in: fc.integer({ min: 2_500, max: 3_500 }),
  messages: fc.array(message, { minLength: 5, maxLength: 15 }),
});

const PROTECTED: Partial<ProtectedItem> = {
  ...{ phase: 'Protected', epoch: 1, nextSequence: 3, begunSequence: 2 },
  latestRecoveryPoint: { id: '1-2', time: '2026-03-01T00:00:00.000Z' },
};
const LIVES = 12;
/** Each has to have begun when its messages come: more would take longer than that, and longer than a task may take. */
const AT_ONCE = 4;
/** Few enough that some of them continue as new meanwhile. */
const tuning = { continueAsNewAfterEvents: 40 };
/**
 * How long a cycle takes to be applied, of one group of lives after the other, ms: what the worker of the workflow does
 * itself keeps messages waiting, and is given up after a while.
 */
const APPLYING_MS = [0, 500, 4_500];
/** A cycle ends sooner, and the alert that it leads to. */
const REST_MS = 1_000;
/** A message that gets no answer for so long never gets one: its VM's workflow stands still. ms. */
const ANSWERED_WITHIN_MS = 60_000;

async function histories(workflowId: string): Promise<History[]> {
  const found: History[] = [];
  let runId: string | undefined = undefined;
  do {
    const handle: Entity = real.env.client.workflow.getHandle(workflowId, runId);
    const history = await handle.fetchHistory();
    found.unshift({ workflowId, history: JSON.parse(historyToJSON(history)) });
    runId = history.events![0]!.workflowExecutionStartedEventAttributes!.continuedExecutionRunId || undefined;
  } while (runId !== undefined);
  return found;
}

it('messages at any instant leave histories that replay', async () => {
  const seed = Number(process.env['FARSHORE_SEED'] ?? Date.now() % 1_000_000);
  const lives = fc.sample(life, { numRuns: LIVES, seed });
  const { vault, site } = real.setUp(tuning);
  /** What got no answer. */
  const unanswered: string[] = [];
  await vault.run(async () => {
    const send = async (vm: string, what: string): Promise<void> => {
      // Whether it is taken is up to the state: what matters is what it leaves.
      const answered = (refused[what] ?? taken[what])!(vault.entity(vm)).then(
        () => true,
        () => true,
      );
      const given = await Promise.race([answered, sleep(ANSWERED_WITHIN_MS, false, { ref: false })]);
      if (!given) unanswered.push(`${vm}: ${what}`);
    };
    const live = async (plan: (typeof lives)[number], index: number, applyingMs: number): Promise<History[]> => {
      const dueMs = Date.now() + plan.in;
      const item = { ...PROTECTED, ...due[plan.due]!(toIso(dueMs), dueMs) };
      const entity = await vault.startEntity(`vm-${index}`, item);
      await Promise.all(
        plan.messages.map(async ({ at, what }) => {
          await sleep(Math.max(0, dueMs + at - Date.now()));
          await send(`vm-${index}`, what);
        }),
      );
      await sleep(applyingMs + REST_MS);
      return histories(entity.workflowId);
    };
    const found: History[] = [];
    for (let first = 0; first < LIVES; first += AT_ONCE) {
      const applyingMs = APPLYING_MS[first / AT_ONCE]!;
      const some = lives.slice(first, first + AT_ONCE);
      const open = site.gate('applyCycle');
      setTimeout(open, Math.max(...some.map((plan) => plan.in)) + applyingMs);
      found.push(...(await Promise.all(some.map((plan, index) => live(plan, first + index, applyingMs)))).flat());
    }
    expect(await replay(await workflowBundle(), found), `seed ${seed}`).toEqual([]);
    expect(unanswered, `seed ${seed}`).toEqual([]);
  });
});
