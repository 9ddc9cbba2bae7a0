import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { JobParameters } from '../../domain/job.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const { setUp } = time;
const request = (parameters: JobParameters = {}) => ({
  args: [{ requestId: randomUUID(), parameters }] as [messages.JobOperationRequest],
});

it('stops tracking, removes the replica and ends the entity; the VM can then be protected again', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    await entity.executeUpdate(messages.pauseUpdate, { args: [{ requestId: randomUUID() }] });
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.disableProtection, request());
    const item = await entity.result();
    expect(item).toMatchObject({ phase: 'Unprotected', epoch: 2 });
    for (const gone of ['paused', 'applied', 'shipped', 'latestRecoveryPoint', 'cycleDueAt']) {
      expect(item).not.toHaveProperty(gone);
    }
    expect((await vault.job(jobId)).result).toEqual({ replicaKept: false });
    const order = site.calls.map(({ name }) => name);
    expect(order.indexOf('endReplication')).toBeLessThan(order.indexOf('removeReplica'));
    expect(site.called('removeReplica')[0]!.input).toEqual({ vm: 'db-01', epoch: 1 });
    const again = await vault.protect('db-01');
    expect((await vault.shown(again)).item).toMatchObject({ phase: 'Protected' });
  });
});

it('keeps the replica on request', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-02');
    await entity.executeUpdate(messages.jobUpdates.disableProtection, request({ keepReplica: true }));
    expect(await entity.result()).toMatchObject({ phase: 'Unprotected' });
    expect(site.called('keepReplica')[0]!.input).toEqual({ vm: 'db-02', epoch: 1, inUse: false });
    expect(site.called('removeReplica')).toEqual([]);
  });
});

it('if cancelled while the primary site does not answer, has changed nothing', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-03');
    site.fail('endReplication', 'HypervisorUnreachable');
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.disableProtection, request());
    await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
    await time.env.client.workflow.getHandle(jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
    const before = (await vault.view('db-03')).item.nextSequence;
    await vault.until(entity, ({ item }) => item.job === undefined);
    const { item } = await vault.until(entity, (view) => view.item.nextSequence > before, 60_000);
    expect(item).toMatchObject({ phase: 'Protected', epoch: 1 });
    expect(site.called('removeReplica')).toEqual([]);
  });
});

it('skips a primary site that is lost', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-04');
    site.fail('endReplication', 'HypervisorUnreachable');
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.disableProtection, request({ primaryLost: true }));
    expect(await entity.result()).toMatchObject({ phase: 'Unprotected' });
    expect((await vault.job(jobId)).tasks).toMatchObject([
      { state: 'Skipped', reason: expect.stringContaining('given up as lost') },
      { state: 'Succeeded' },
    ]);
    expect(site.called('endReplication')).toEqual([]);
    expect(site.called('removeReplica')).toHaveLength(1);
  });
});

it('is refused before a failover is committed; after it, only the protection ends', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-05');
    await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
    await expect(entity.executeUpdate(messages.jobUpdates.disableProtection, request())).rejects.toMatchObject({
      cause: { message: expect.stringContaining('commit first') },
    });
    await entity.executeUpdate(messages.jobUpdates.commitFailover, request());
    await vault.until(entity, ({ item }) => item.phase === 'Committed');
    await entity.executeUpdate(messages.jobUpdates.disableProtection, request());
    expect(await entity.result()).toMatchObject({ phase: 'Unprotected', activeSide: 'recovery', epoch: 2 });
    expect(site.called('keepReplica')[0]!.input).toEqual({ vm: 'db-05', epoch: 2, inUse: true });
    for (const name of ['endReplication', 'removeReplica'] as const) expect(site.called(name)).toEqual([]);
  });
});

describe('while the source still has to be told that the VM runs elsewhere', () => {
  async function failedOver(vm: string) {
    const { site, vault } = setUp();
    site.fail('fenceVm', 'HypervisorUnreachable');
    const end = async () => {
      const entity = await vault.protect(vm);
      await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      await vault.until(entity, ({ item }) => item.sourceFence?.problem !== undefined);
      await entity.executeUpdate(messages.jobUpdates.commitFailover, request());
      await vault.until(entity, ({ item }) => item.phase === 'Committed');
      await entity.executeUpdate(messages.jobUpdates.disableProtection, request());
      await vault.until(entity, ({ item }) => item.phase === 'Unprotected' && item.job === undefined);
      return entity;
    };
    return { site, vault, end };
  }

  it('protection has not ended, and ends once that is done', async () => {
    const { site, vault, end } = await failedOver('db-06');
    await vault.run(async () => {
      const entity = await end();
      const { conditions, operations } = await vault.shown(entity);
      expect(conditions).toMatchObject([
        { reason: 'SourceNotFenced', remedy: expect.stringContaining('unprotect db-06 --primary-lost') },
      ]);
      expect(operations.enableProtection).toMatchObject({ allowed: false });
      const before = site.called('fenceVm').length;
      site.heal('fenceVm');
      await entity.result();
      expect(site.called('fenceVm')).toHaveLength(before + 1);
      expect(site.called('shutDownVm')).toHaveLength(1);
    });
  });

  it('protection ends if an operator declares the primary site lost', async () => {
    const { vault, end } = await failedOver('db-07');
    await vault.run(async () => {
      const entity = await end();
      await entity.executeUpdate(messages.jobUpdates.disableProtection, request({ primaryLost: true }));
      expect(await entity.result()).not.toHaveProperty('sourceFence');
    });
  });
});
