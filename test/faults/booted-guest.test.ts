/**
 * A guest that really boots writes numbered transactions to ext4, to one disk and then to the other. After a failover the
 * replica boots, its file systems mount, and its transactions are those of the source: all of them, or the first ones.
 */
import { expect, test } from 'vitest';
import { bootedTransactions, leftTransactions } from '../../client/demo/guest/console.js';
import { bootedSite, SOON, VM } from './booted-site.js';

test('after a planned failover the replica boots with everything that the source wrote', async (context) => {
  const { source, failOver, written } = await bootedSite(context);
  const booted = await failOver('plannedFailover');
  expect(await source()).toContain('guest: shut down');
  expect(booted.os).toBeGreaterThan(0);
  // Its shutdown unmounted the file systems: nothing of them is in a journal.
  expect(booted).toEqual(await written());
});

test('after the host has died, the replica boots with the state of the newest cycle', async (context) => {
  const { running, farshore, failOver, written } = await bootedSite(context);
  const before = await farshore.sync(VM);
  await farshore.followVm(VM, (view) => (view?.item.applied?.sequence ?? 0) >= before.sequence);
  for (const name of ['hypervisor-hyperv-01', 'host-hyperv-01']) process.kill(running.processId(name)!, 'SIGKILL');
  const booted = await failOver('unplannedFailover');
  expect(booted.os).toBeGreaterThan(0);
  // One transaction may be on the first disk alone.
  expect([0, 1]).toContain(booted.os - booted.data);
  const source = await written();
  expect(booted.os).toBeLessThanOrEqual(source.os + 1);
});

test('goes to the recovery site and back, twice, and never misses a transaction', async (context) => {
  const { farshore, source, replica, failOver } = await bootedSite(context);
  const settled = async (phase: string) => {
    await farshore.followVm(
      VM,
      (view) => view?.item.phase === phase && !view.item.job && view.item.pending.length === 0,
    );
    return (await farshore.protectedItem(VM))!.item;
  };
  for (const round of [1, 2]) {
    const booted = await failOver('plannedFailover');
    expect(booted, await source()).toEqual(leftTransactions(await source()).at(-1));
    await farshore.startJob(VM, 'commitFailover');
    await settled('Committed');
    const { jobId } = await farshore.startJob(VM, 'failback', { synchronize: 'during' });
    expect(await farshore.followJob(jobId)).toMatchObject({ state: 'Succeeded', result: { originalUnchanged: true } });
    const left = leftTransactions(await replica()).at(-1)!;
    expect(left.os).toBeGreaterThan(booted.os);
    await expect.poll(async () => bootedTransactions(await source())[round], SOON).toEqual(left);
    await settled('FailedBack');
    await farshore.startJob(VM, 'commitFailover');
    expect((await settled('Committed')).activeSide).toBe('primary');
    await farshore.startJob(VM, 'reverseReplicate');
    await farshore.followVm(VM, (view) => view?.item.phase === 'Protected' && !view.item.job && !view.item.resync);
  }
});
