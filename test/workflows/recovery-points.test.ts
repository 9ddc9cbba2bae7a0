import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { policySchema } from '../../domain/policy.js';
import * as messages from '../../workflows/messages.js';
import type { SimulatedSite } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const { setUp } = time;
const named = (tag: string, requestId = randomUUID()) => ({ args: [{ requestId, tag }] as [messages.SyncRequest] });

describe('a named recovery point', () => {
  it('is requested by a synchronization; the same request twice makes one point', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      const asked = named('before-upgrade');
      const { sequence } = await entity.executeUpdate(messages.syncUpdate, asked);
      expect(await entity.executeUpdate(messages.syncUpdate, asked)).toEqual({ sequence });
      const { item } = await vault.until(entity, (view) => (view.item.applied?.sequence ?? 0) >= sequence);
      expect(await entity.executeUpdate(messages.syncUpdate, asked)).toEqual({ sequence });
      expect(item.namedPoints).toEqual([{ tag: 'before-upgrade', id: `0001-0000000${sequence}` }]);
      const tagged = site.called('cutAndShip').filter(({ input }) => input['tags'] !== undefined);
      expect(tagged.map(({ input }) => [input['sequence'], input['tags']])).toEqual([[sequence, ['before-upgrade']]]);
      await expect(entity.executeUpdate(messages.syncUpdate, named('before-upgrade'))).rejects.toMatchObject({
        cause: { message: expect.stringContaining('already has the name before-upgrade') },
      });
      await expect(entity.executeUpdate(messages.syncUpdate, named('../x'))).rejects.toMatchObject({
        cause: { type: 'InvalidInput' },
      });
    });
  });

  it('requested during a cycle, the next cycle gets the name', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-02');
      site.fail('applyCycle', 'StoreUnreachable');
      const { item } = await vault.until(entity, (view) => view.item.retry !== undefined);
      const { sequence } = await entity.executeUpdate(messages.syncUpdate, named('a'));
      expect(sequence).toBe(item.nextSequence + 1);
      site.heal('applyCycle');
      await vault.until(entity, (view) => (view.item.applied?.sequence ?? 0) >= sequence);
      const tagged = site.called('cutAndShip').filter(({ input }) => input['tags'] !== undefined);
      expect(tagged.map(({ input }) => input['sequence'])).toEqual([sequence]);
    });
  });

  it('is not lost if a failover follows immediately', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-03');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      // Whichever is first, the cycle or the job: there is one point with the name.
      await entity.executeUpdate(messages.syncUpdate, named('a'));
      const failover = { args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] };
      await entity.executeUpdate(messages.jobUpdates.plannedFailover, failover);
      const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(item.namedPoints?.map(({ tag }) => tag)).toEqual(['a']);
      expect(site.called('cutAndShip').filter(({ input }) => input['tags'] !== undefined)).toHaveLength(1);
    });
  });
});

describe('a named recovery point of a job that makes several cycles', () => {
  it('is that of the first cycle that may carry the name, once', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-07');
      site.fail('cutAndShip', 'StoreUnreachable');
      await vault.until(entity, ({ item }) => item.retry !== undefined);
      // The cycle that waits was begun before: the name is for the one after it.
      const { sequence } = await entity.executeUpdate(messages.syncUpdate, named('a'));
      await vault.until(entity, ({ item }) => (item.retry?.attempt ?? 0) >= 2);
      site.heal('cutAndShip');
      const verification = { args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] };
      await entity.executeUpdate(messages.jobUpdates.verifyReplica, verification);
      const { item } = await vault.until(
        entity,
        (view) => view.item.recentJobs.some(({ kind }) => kind === 'verifyReplica') && view.item.job === undefined,
      );
      const tagged = site.called('cutAndShip').filter(({ input }) => input['tags'] !== undefined);
      expect(tagged.map(({ input }) => input['sequence'])).toEqual([sequence]);
      expect(item.namedPoints).toEqual([{ tag: 'a', id: `0001-0000000${sequence}` }]);
      expect(item.tagRequests?.map(({ done }) => done)).toEqual([true]);
    });
  });
});

describe('app-consistent points', () => {
  const policy = policySchema.parse({ name: 'p', recoveryPointRetentionHours: 2, appConsistentFrequencyHours: 1 });
  const asked = (site: SimulatedSite) =>
    site.called('cutAndShip').filter(({ input }) => input['appConsistent'] === true);

  it('are requested at the frequency of the policy, by the first cycle that is due then', async () => {
    const { site, vault } = setUp(policy);
    await vault.run(async () => {
      const entity = await vault.protect('db-04');
      await vault.until(entity, ({ item }) => item.appConsistency !== undefined);
      await vault.pass(130);
      const [first, second, third] = asked(site);
      expect(asked(site)).toHaveLength(3);
      for (const gap of [second!.at - first!.at, third!.at - second!.at]) {
        expect(gap / 60_000).toBeGreaterThanOrEqual(60);
        expect(gap / 60_000).toBeLessThan(66);
      }
      expect((await vault.view('db-04')).health).toBe('Normal');
    });
  });

  it('do not stop the cycle if they fail; the VM shows a Warning until one succeeds', async () => {
    const { site, vault } = setUp(policy);
    site.freezeFailure = { reason: 'AppConsistentFailed', message: 'the guest did not freeze within 10 s' };
    await vault.run(async () => {
      const entity = await vault.protect('db-05');
      const failed = await vault.until(entity, ({ item }) => item.appConsistency?.failure !== undefined);
      expect(failed).toMatchObject({ health: 'Warning', conditions: [{ reason: 'AppConsistentFailed' }] });
      await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= failed.item.nextSequence);
      site.freezeFailure = undefined;
      const healed = await vault.until(entity, ({ item }) => item.appConsistency?.failure === undefined, 60_000);
      expect(healed.health).toBe('Normal');
      expect((asked(site)[1]!.at - asked(site)[0]!.at) / 60_000).toBeGreaterThanOrEqual(15);
    });
  });

  it('are not requested without a policy that asks for them', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-06');
      await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= 3, 60_000);
      expect(asked(site)).toEqual([]);
    });
  });
});
