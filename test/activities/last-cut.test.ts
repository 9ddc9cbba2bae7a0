/** A final cut that a failover left behind, of a VM that has been started since: both sites are real. */
import { expect, test } from 'vitest';
import { comparedWrites, holdsEverything } from '../../domain/last-cut.js';
import { intercept } from '../replication/intercepted-store.js';
import { MiB } from '../replication/model.js';
import { guestWrites, openSite, run, seed, VM } from './embedded-site.js';

const cycle = (sequence: number) => ({ vm: VM, epoch: 1, sequence });

test.each([
  ['was not sent while it was final', true],
  ['was sent, and its answer lost', false],
])('a cut that %s does not hold what was written since; the next one does', async (_, storeIsAway) => {
  const site = await openSite();
  await seed(site);
  const all = site.activities();
  const vm = VM;
  await guestWrites(site, 'os', MiB);
  const former = await run(all.shutDownVm, { vm });
  const away = intercept(site.store, 'objects.putIfAbsent', {
    before: () => Promise.reject(new Error('the store is away')),
  });
  if (storeIsAway) await expect(run(site.activities(away).cutAndShip, cycle(1))).rejects.toThrow('away');
  else expect(holdsEverything(await run(all.cutAndShip, cycle(1)), former.exportsClosedAt)).toBe(true);

  await run(all.startVm, { vm, epoch: 1 });
  expect((await run(all.cutAndShip, cycle(1))).issued).toBeUndefined();
  await guestWrites(site, 'data', 3 * MiB);
  const { exportsClosedAt } = await run(all.shutDownVm, { vm });
  const left = await run(all.cutAndShip, cycle(1));
  expect(left.final).toBe(true);
  expect(holdsEverything(left, exportsClosedAt)).toBe(false);
  // Whatever clocks say: the tracker counts on.
  expect(holdsEverything(left, left.sealedAt)).toBe(false);
  const last = await run(all.cutAndShip, cycle(2));
  expect(holdsEverything(last, exportsClosedAt)).toBe(true);

  // Only once it is applied does the replica hold what the tracker has taken.
  const apply = (sequence: number) => run(all.applyCycle, { vm, epoch: 1, sequence, retentionHours: 2 });
  const isWhole = ({ lastWrites }: Awaited<ReturnType<typeof apply>>) =>
    comparedWrites(last.issued!, lastWrites).every((disk) => disk.lastWriteIssued === disk.lastWriteApplied);
  expect(isWhole(await apply(1))).toBe(false);
  expect(isWhole(await apply(2))).toBe(true);
});

test('a cycle that was sent while the VM ran is not final, whatever the state of the VM is now', async () => {
  const site = await openSite();
  await seed(site);
  const all = site.activities();
  await run(all.cutAndShip, cycle(1));
  await run(all.shutDownVm, { vm: VM });
  expect(await run(all.cutAndShip, cycle(1))).toMatchObject({ final: false });
});
