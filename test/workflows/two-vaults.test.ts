/** Two vaults on one namespace, whose hosts, servers and VMs have the same names. */
import { expect, it } from 'vitest';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();

it('vaults with the same names each do their own work', async () => {
  const [one, other] = [time.setUp(), time.setUp()];
  const names = { host: 'hv-01', server: 'vmm-01' };
  for (const { vault } of [one, other]) Object.assign(vault, names);
  await one.vault.run(() =>
    other.vault.run(async () => {
      // At the same time, so that their jobs would have the same ids.
      const entities = await Promise.all([one.vault.protect('db-01'), other.vault.protect('db-01')]);
      await one.vault.until(entities[0], ({ item }) => item.applied?.sequence === 2);
      await other.vault.until(entities[1], ({ item }) => item.applied?.sequence === 2);
      for (const { site, vault } of [one, other]) {
        expect(site.called('cutAndShip').length).toBeGreaterThanOrEqual(2);
        // A small cycle is applied where the workflow runs.
        const queued = site.calls.filter(({ name }) => name !== 'applyCycle');
        expect(queued.filter(({ queue }) => !queue.includes(vault.vault))).toEqual([]);
        expect((await vault.view('db-01')).item.recentJobs.every(({ id }) => id.includes(vault.vault))).toBe(true);
      }
    }),
  );
});
