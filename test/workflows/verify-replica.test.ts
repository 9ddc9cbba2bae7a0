import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { verifyResultSchema } from '../../domain/job.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const { setUp } = time;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.OperationRequest] });

it(
  'compares at a cycle that has not been cut before, and replication continues afterwards',
  { timeout: 120_000 },
  async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.kind === 'verifyReplica');
      const job = await vault.job(jobId);
      expect(verifyResultSchema.parse(job.result)).toMatchObject({ equal: true, sequence: 4, blocks: 32, ranges: [] });
      expect(site.called('snapshotAndCut').map(({ input }) => input['sequence'])).toEqual([4]);
      expect(item.nextSequence).toBeGreaterThanOrEqual(5);
      const order = site.calls.map(({ name }) => name);
      expect(order.indexOf('snapshotAndCut')).toBeLessThan(order.indexOf('digestForVerification'));
      expect(order.indexOf('compareDisk')).toBeLessThan(order.lastIndexOf('mergeSnapshot'));
      const after = await vault.until(entity, (view) => view.item.applied!.sequence >= 5);
      expect(after.health).toBe('Normal');
    });
  },
);

it('a difference is reported, and marks the VM for resynchronization', { timeout: 120_000 }, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-02');
    site.differing = [{ offset: 7, length: 1 }];
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    const { item, health } = await vault.until(entity, (view) => view.item.resync !== undefined);
    expect(item.resync?.cause).toContain('found 2 differing ranges in the replica');
    expect(health).toBe('Critical');
    expect((await vault.job(jobId)).result).toMatchObject({
      equal: false,
      differingBlocks: 2,
      ranges: ['os', 'data'].map((disk) => ({ disk, offset: 7, length: 1 })),
    });
  });
});

it('if its snapshot is given up, it fails and marks nothing', { timeout: 120_000 }, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-04');
    site.fail('compareDisk', 'SnapshotGivenUp');
    const merges = site.called('mergeSnapshot').length;
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId);
    const remedy = expect.stringMatching(/the data is not affected.* verify again/i);
    expect(item.recentJobs.at(-1)).toMatchObject({ outcome: 'failed', failure: { code: 'SnapshotGivenUp', remedy } });
    expect(item.resync).toBeUndefined();
    expect(site.called('mergeSnapshot').length).toBe(merges + 1);
    // Replication goes on, and so does verifying.
    const sent = item.applied!.sequence;
    const { health } = await vault.until(entity, (view) => view.item.applied!.sequence > sent);
    expect(health).toBe('Normal');
    site.heal('compareDisk');
    const again = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    const done = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === again.jobId);
    expect(done.item.recentJobs.at(-1)).toMatchObject({ outcome: 'succeeded' });
  });
});

it(
  'cancelled, it merges its snapshot, and replication goes on behind the cycles it made',
  { timeout: 120_000 },
  async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-03');
      site.fail('digestForVerification', 'StoreUnreachable');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      const merges = site.called('mergeSnapshot').length;
      await time.env.client.workflow.getHandle(jobId).signal(messages.cancelJobSignal, { reason: 'not now' });
      const { item } = await vault.until(entity, (view) => view.item.job === undefined);
      expect(site.called('mergeSnapshot').length).toBe(merges + 1);
      const made = Number(site.called('snapshotAndCut')[0]!.input['sequence']);
      expect(item.nextSequence).toBeGreaterThan(made);
      await vault.until(entity, (view) => view.item.applied!.sequence > made);
      const sequences = site.called('cutAndShip').map(({ input }) => input['sequence']);
      expect(sequences).toEqual(sequences.map((_, index) => index + 1));
    });
  },
);
