import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { failureCatalogue, toFailure, type FailureCode } from '../../domain/errors.js';
import { hostSilence } from '../../domain/host-silence.js';
import { toIso } from '../../domain/time.js';
import * as messages from '../../workflows/messages.js';
import { retriedDuringAttempt } from './retried-attempt.js';
import type { Call } from './simulated-site.js';
import { searchAttributes } from '../../workflows/search-attributes.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();

const { setUp } = time;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.OperationRequest] });
const minutesBetween = (calls: Call[]) =>
  calls.slice(1).map((call, index) => Math.round((call.at - calls[index]!.at) / 60_000));
/** Minutes in which every rung of the ladder would have been climbed at least once more. */
const AN_HOUR = 65;
const codesOf = (wanted: string) =>
  (Object.keys(failureCatalogue) as FailureCode[]).filter((code) => failureCatalogue[code].class === wanted);

describe('a recoverable failure', () => {
  it('in the delta loop is retried after 1, 2, 4, 8, 10, then every 30 minutes, and recovers', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      const before = await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      site.fail('cutAndShip', 'StoreUnreachable');
      const failed = site.called('cutAndShip').length;
      await vault.pass(120);
      const attempts = site.called('cutAndShip').slice(failed);
      const delays = minutesBetween(attempts).slice(0, 7);
      console.log(`ladder: ${delays.join(', ')}`);
      expect(delays).toEqual([1, 2, 4, 8, 10, 30, 30]);
      const failing = await vault.shown(entity);
      expect(failing.health).toBe('Critical');
      expect(failing.conditions[0]).toMatchObject({ reason: 'StoreUnreachable' });
      expect(failing.item.retry?.nextTryAt).toBeDefined();
      site.heal('cutAndShip');
      const healed = await vault.until(
        entity,
        ({ item }) => item.retry === undefined && item.applied?.sequence === 3,
        60_000,
      );
      expect(healed.item.applied!.sequence).toBe(before.item.applied!.sequence + 1);
      // What was missed is told, and only for as long as it is true.
      expect(healed.conditions.map((condition) => condition.reason)).toEqual(['CyclesMissed']);
    });
  });

  it('in a job climbs the same ladder', async () => {
    const { site, vault } = setUp();
    site.fail('copyDisk', 'NetworkError', 7);
    await vault.run(async () => {
      const entity = await vault.startEntity('db-02');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      await vault.until(entity, ({ item }) => item.phase === 'Protected', 60_000);
      expect(minutesBetween(site.called('copyDisk')).slice(0, 7)).toEqual([1, 2, 4, 8, 10, 30, 30]);
    });
  });

  it('restarts the count when the checkpoint has advanced', async () => {
    const { site, vault } = setUp();
    let checkpoint = 0;
    site.fail('copyDisk', 'WorkerLost', 6, () =>
      site.called('copyDisk').length === 4 ? (checkpoint = 100) : checkpoint,
    );
    await vault.run(async () => {
      const entity = await vault.startEntity('db-03');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      await vault.until(entity, ({ item }) => item.phase === 'Protected', 60_000);
      expect(minutesBetween(site.called('copyDisk')).slice(0, 6)).toEqual([1, 2, 4, 1, 2, 4]);
    });
  });

  it('does not count work that a worker handed back as an attempt, and retries it immediately', async () => {
    const { site, vault } = setUp();
    site.fail('copyDisk', 'WorkerStopped', 3);
    await vault.run(async () => {
      const entity = await vault.startEntity('db-08');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      await vault.until(entity, ({ item }) => item.phase === 'Protected', 60_000);
      expect(minutesBetween(site.called('copyDisk')).slice(0, 3)).toEqual([0, 0, 0]);
    });
  });

  it('`retry` ends the wait immediately, in the middle of 30 minutes', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-04');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      site.fail('cutAndShip', 'SourceDiskFull');
      await vault.until(entity, ({ item }) => (item.retry?.attempt ?? 0) >= 6, 60_000);
      await vault.pass(10);
      site.heal('cutAndShip');
      const asked = await time.env.currentTimeMs();
      expect(await entity.executeUpdate(messages.retryUpdate, request())).toEqual({ retried: 'replication cycle' });
      await vault.until(entity, ({ item }) => item.applied?.sequence === 3);
      expect(site.called('cutAndShip').at(-1)!.at - asked).toBeLessThan(60_000);
    });
  });

  it('a `retry` during an attempt does not apply to the failure of that attempt', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const before = await retriedDuringAttempt(site, vault, 'db-09');
      await vault.pass(AN_HOUR);
      expect(site.called('cutAndShip')).toHaveLength(before + 1);
    });
  });

  it('continues where it was when the run continues as new, whichever step of a cycle fails', async () => {
    const { site, vault } = setUp(undefined, { continueAsNewAfterEvents: 40 });
    await vault.run(async () => {
      site.fail('applyCycle', 'StoreUnreachable');
      // Protected already, as jobs that continue as new are none of it.
      const cycleDueAt = toIso(await time.env.currentTimeMs());
      const { firstExecutionRunId } = await vault.startEntity('db-10', {
        ...{ phase: 'Protected', epoch: 1, nextSequence: 3, begunSequence: 2, cycleDueAt },
      });
      await vault.until(vault.entity('db-10'), () => site.called('applyCycle').length >= 7, 60_000);
      const delays = minutesBetween(site.called('applyCycle'));
      expect(delays.slice(0, 6)).toEqual([1, 2, 4, 8, 10, 30]);
      expect((await vault.entity('db-10').describe()).runId).not.toBe(firstExecutionRunId);
    });
  });

  it('is not waited for when the cycle failed because its host was silent and the host is heard again', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-13');
      site.fail('cutAndShip', 'HypervisorUnreachable');
      const trouble = { failure: toFailure('HypervisorUnreachable', 'm'), since: toIso(0) };
      await entity.signal(messages.hostNewsSignal, { trouble });
      // Far up, where the next try is half an hour away.
      await vault.until(entity, ({ item }) => (item.retry?.attempt ?? 0) >= 6, 60_000);
      const failedAt = site.called('cutAndShip').at(-1)!.at;
      site.heal('cutAndShip');
      await entity.signal(messages.hostNewsSignal, {});
      const { item } = await vault.until(entity, (view) => view.item.retry === undefined);
      expect(hostSilence(item)).toBeUndefined();
      expect(site.called('cutAndShip').at(-1)!.at - failedAt).toBeLessThan(10 * 60_000);
    });
  });

  it('nor does a job wait for it', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      site.fail('copyDisk', 'HypervisorUnreachable');
      const entity = await vault.startEntity('db-14');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      await vault.until(entity, ({ item }) => (item.job?.retry?.attempt ?? 0) >= 6, 60_000);
      const trouble = { failure: toFailure('HypervisorUnreachable', 'm'), since: toIso(0) };
      await entity.signal(messages.hostNewsSignal, { trouble });
      const failedAt = site.called('copyDisk').at(-1)!.at;
      site.heal('copyDisk');
      await entity.signal(messages.hostNewsSignal, {});
      const { item } = await vault.until(entity, (view) => view.item.job?.retry === undefined);
      expect(hostSilence(item)).toBeUndefined();
      expect(site.called('copyDisk').find(({ at }) => at > failedAt)!.at - failedAt).toBeLessThan(10 * 60_000);
    });
  });

  it('a host whose agent is gone is reported as such', async () => {
    const { site, vault } = setUp();
    site.fail('copyDisk', 'AgentNotAnswering', 1);
    await vault.run(async () => {
      const entity = await vault.startEntity('db-05');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      const view = await vault.until(entity, ({ item }) => item.job?.retry !== undefined, 100);
      expect(view.health).toBe('Warning');
      await vault.until(entity, ({ item }) => item.phase === 'Protected', 10_000);
    });
  });
});

it('a non-recoverable failure is not retried automatically; each is Critical and waits for `retry`', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-06');
    let { applied } = (await vault.until(entity, ({ item }) => item.applied?.sequence === 2)).item;
    for (const code of [...codesOf('nonRecoverable'), 'Unexpected' as const]) {
      site.fail('applyCycle', code);
      const before = site.called('applyCycle').length;
      await vault.pass(AN_HOUR);
      expect(site.called('applyCycle'), code).toHaveLength(before + 1);
      const view = await vault.shown(entity);
      expect(view).toMatchObject({ health: 'Critical', operations: { retry: { allowed: true } } });
      expect(view.conditions[0]?.reason).toBe(code);
      site.heal('applyCycle');
      await entity.executeUpdate(messages.retryUpdate, request());
      const next = applied!.sequence + 1;
      ({ applied } = (await vault.until(entity, ({ item }) => item.applied?.sequence === next)).item);
    }
  });
});

it('a VM whose work needs an operator is listed as such until `retry`', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.startEntity('db-08');
    const listedAs = async () => (await entity.describe()).typedSearchAttributes.get(searchAttributes.jobState);
    site.fail('copyDisk', 'DiskMissing');
    await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
    const { item } = await vault.until(entity, ({ item: { job } }) => job?.retry !== undefined);
    // The job itself is listed.
    expect(await listedAs()).toBeUndefined();
    await time.env.client.workflow.getHandle(item.job!.jobId).signal(messages.cancelJobSignal, { reason: 'test' });
    await vault.until(entity, ({ item: { job, pending } }) => job === undefined && pending.length === 0);
    expect(await listedAs()).toBe('WaitingForPerson');
    site.heal('copyDisk');
    await entity.executeUpdate(messages.retryUpdate, request());
    await vault.until(entity, ({ item: { applied } }) => applied?.sequence === 2);
    expect(await listedAs()).toBeUndefined();
    site.fail('cutAndShip', 'DiskMissing');
    await vault.until(entity, ({ item: { retry } }) => retry !== undefined, 60_000);
    expect(await listedAs()).toBe('WaitingForPerson');
    site.heal('cutAndShip');
    await entity.executeUpdate(messages.retryUpdate, request());
    await vault.until(entity, ({ item: { applied } }) => applied?.sequence === 3);
    expect(await listedAs()).toBeUndefined();
  });
});

describe('a failure that needs a resynchronization', () => {
  it.each(codesOf('needsResync'))('%s marks the VM, and no cycle is made any more', async (code) => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-07');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      site.fail('cutAndShip', code);
      const view = await vault.until(entity, ({ item }) => item.resync !== undefined, 60_000);
      expect(view.health).toBe('Critical');
      expect(view.operations.plannedFailover).toMatchObject({ allowed: false });
      const cycles = site.called('cutAndShip').length;
      await vault.pass(AN_HOUR);
      expect(site.called('cutAndShip')).toHaveLength(cycles);
    });
  });
});
