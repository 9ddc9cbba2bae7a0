/** What an entity did not expect must not close it: nobody would look after its VM any more. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { policySchema, type Policy } from '../../domain/policy.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const policyIn = (timeZone: string): Policy =>
  policySchema.parse({ name: 'far', resynchronizationWindow: { from: '01:00', to: '01:01', timeZone } });
const setPolicy = (policy: Policy) => ({ args: [{ requestId: randomUUID(), policy }] as [messages.PolicyRequest] });

it('a state that this worker cannot read fails the task, which another worker may complete, and not the entity', async () => {
  const { vault } = time.setUp();
  await vault.run(async () => {
    const entity = await vault.startEntity('db-01', { phase: 'OfALaterVersion' as never });
    const failed = async () =>
      (await entity.fetchHistory()).events!.filter((event) => event.workflowTaskFailedEventAttributes).length;
    await expect.poll(failed, { timeout: 30_000 }).toBeGreaterThan(0);
    expect((await entity.describe()).status.name).toBe('RUNNING');
  });
});

it('an invalid start input fails the workflow', async () => {
  const { vault } = time.setUp();
  await vault.run(async () => {
    const entity = await vault.startEntity('not a name!');
    await expect(entity.result()).rejects.toMatchObject({ cause: { type: 'InvalidInput' } });
  });
});

it('an unknown time zone is refused', async () => {
  const { vault } = time.setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-02');
    await expect(
      entity.executeUpdate(messages.setPolicyUpdate, setPolicy(policyIn('Mars/Olympus'))),
    ).rejects.toMatchObject({
      cause: { type: 'InvalidInput', message: expect.stringContaining('unknown time zone "Mars/Olympus"') },
    });
    await entity.executeUpdate(messages.setPolicyUpdate, setPolicy(policyIn('Europe/Berlin')));
    expect((await vault.view('db-02')).item.policy.name).toBe('far');
  });
});

it('a window that cannot be computed stops nothing, and is computed again later', async () => {
  const { site, vault } = time.setUp(policyIn('Mars/Olympus'));
  await vault.run(async () => {
    const entity = await vault.protect('db-03');
    site.fail('cutAndShip', 'ResyncRequired', 1);
    const marked = await vault.until(entity, ({ item }) => item.resync !== undefined, 60_000);
    expect(marked).toMatchObject({ health: 'Critical', item: { resync: {} } });
    await vault.pass(30);
    expect((await vault.view('db-03')).item.resync?.dueAt).toBeUndefined();
    await entity.executeUpdate(messages.setPolicyUpdate, setPolicy(policyIn('UTC')));
    await vault.until(entity, ({ item }) => item.resync?.dueAt !== undefined);
  });
});
