import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { failoverResultSchema } from '../../domain/job.js';
import { policySchema } from '../../domain/policy.js';
import type { Retention } from '../../domain/recovery-point.js';
import { toMs } from '../../domain/time.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const { setUp } = time;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.OperationRequest] });

it('a paused VM sends nothing, and makes a cycle immediately when it is resumed', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
    const { since } = await entity.executeUpdate(messages.pauseUpdate, request());
    const cycles = site.called('cutAndShip').length;
    await vault.pass(30);
    const paused = await vault.view('db-01');
    expect(site.called('cutAndShip').length).toBe(cycles);
    expect(paused).toMatchObject({ health: 'Warning', conditions: [{ reason: 'Paused', since }] });
    await expect(entity.executeUpdate(messages.syncUpdate, request())).rejects.toMatchObject({
      cause: { message: expect.stringContaining('paused since') },
    });
    const resumedAt = await time.env.currentTimeMs();
    await entity.executeUpdate(messages.resumeUpdate, request());
    const resumed = await vault.until(entity, ({ item }) => item.applied?.sequence === 3);
    expect(site.called('cutAndShip').at(-1)!.at - resumedAt).toBeLessThan(60_000);
    // A pause is not a series of missed cycles.
    expect(resumed.health).toBe('Normal');
  });
});

it('a pause ends the wait of a failing cycle; after resuming, it is retried immediately', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-02');
    site.fail('cutAndShip', 'StoreUnreachable');
    await vault.until(entity, ({ item }) => (item.retry?.attempt ?? 0) >= 3, 60_000);
    await entity.executeUpdate(messages.pauseUpdate, request());
    const failed = site.called('cutAndShip').length;
    await vault.pass(20);
    expect(site.called('cutAndShip').length).toBe(failed);
    const paused = await vault.view('db-02');
    expect(paused.item.retry).toBeUndefined();
    // Nothing has shown that it does not fail any more.
    expect(paused.conditions.map(({ reason }) => reason)).toEqual(['StoreUnreachable', 'Paused']);
    site.heal('cutAndShip');
    await entity.executeUpdate(messages.resumeUpdate, request());
    const before = paused.item.applied!.sequence;
    const { conditions } = await vault.until(entity, ({ item }) => item.applied!.sequence > before);
    expect(conditions.map(({ reason }) => reason)).not.toContain('StoreUnreachable');
  });
});

it('a paused VM can fail over, and nothing is lost', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-03');
    await entity.executeUpdate(messages.pauseUpdate, request());
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
    expect(item.paused).toBeUndefined();
    const result = failoverResultSchema.parse((await vault.job(jobId)).result);
    expect(result.rpoSeconds).toBe(0);
    for (const disk of result.disks) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
    expect(site.called('cutAndShip').at(-1)!.at).toBeGreaterThanOrEqual(site.called('shutDownVm')[0]!.at);
  });
});

it('a policy with a shorter frequency and another retention applies from the next cycle on, which is moved up', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-04');
    await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
    const before = (await vault.view('db-04')).item.cycleDueAt!;
    const policy = policySchema.parse({ name: 'fast', copyFrequency: '30s', recoveryPointRetentionHours: 7 });
    const args: [messages.PolicyRequest] = [{ requestId: randomUUID(), policy }];
    const { cycleDueAt } = await entity.executeUpdate(messages.setPolicyUpdate, { args });
    expect(Date.parse(before) - Date.parse(cycleDueAt!)).toBeGreaterThan(4 * 60_000);
    await vault.pass(5);
    const cycles = site.called('cutAndShip').slice(2);
    expect(cycles.length).toBeGreaterThanOrEqual(8);
    expect(site.called('applyCycle').at(-1)!.input).toMatchObject({ retentionHours: 7 });
    const wrong = { ...policy, recoveryPointRetentionHours: 25 };
    await expect(
      entity.executeUpdate(messages.setPolicyUpdate, { args: [{ requestId: randomUUID(), policy: wrong }] }),
    ).rejects.toMatchObject({ cause: { type: 'InvalidInput' } });
  });
});

it('a policy that is set while the store is full decides what the next attempt deletes to make room', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-05');
    site.fail('cutAndShip', 'StoreFull');
    await vault.until(entity, ({ item }) => (item.retry?.attempt ?? 0) >= 2, 60_000);
    const policy = policySchema.parse({ name: 'short', recoveryPointRetentionHours: 0 });
    await entity.executeUpdate(messages.setPolicyUpdate, { args: [{ requestId: randomUUID(), policy }] });
    const before = site.called('cutAndShip').length;
    site.heal('cutAndShip');
    await entity.executeUpdate(messages.retryUpdate, request());
    await vault.until(entity, ({ item }) => item.retry === undefined);
    const { input, at } = site.called('cutAndShip')[before]!;
    const { retention } = input as { retention?: Retention };
    expect(retention?.hours).toBe(0);
    // Told as the attempt began, and not as the cycle did.
    expect(Math.abs(toMs(retention!.at) - at)).toBeLessThan(30_000);
  });
});
