import { expect, test } from 'vitest';
import { holdersOfPoints } from '../../replication/point-holders.js';
import { withLease } from '../../replication/point-leases.js';
import { listRecoveryPoints } from '../../replication/recovery-points.js';
import { vmFence, writeVaultState } from '../../replication/replica-state.js';
import { writeTestHold } from '../../replication/test-hold.js';
import { guestWrites, openSite, run, seed, VM } from '../activities/embedded-site.js';
import { MiB } from './model.js';

test('a point says which VM runs from it, and whether it is being read', async () => {
  const { store, ...site } = await openSite();
  const opened = { store, ...site };
  const all = opened.activities();
  await seed(opened);
  for (const sequence of [1, 2, 3]) {
    await guestWrites(opened, 'os', MiB, sequence * 50);
    await run(all.cutAndShip, { vm: VM, epoch: 1, sequence });
    await run(all.applyCycle, { vm: VM, epoch: 1, sequence, retentionHours: 2 });
  }
  const [first, second, third] = await listRecoveryPoints(store, VM);
  expect(await holdersOfPoints(store, VM)).toEqual(new Map());
  const hold = { testVm: 'db-01-test', jobId: 'j', since: first!.time, of: first! };
  await writeTestHold(store, VM, hold, vmFence(VM, { epoch: 1, sequence: 3 }));
  await store.objects.raiseFence(vmFence(VM, { epoch: 2, sequence: 0 }));
  const of = { recoveryPoint: third!.id, recoveryPointTime: third!.time };
  await writeVaultState(store, VM, { epoch: 2, phase: 'FailedOver', at: third!.time, ...of });
  await withLease(store, VM, async ({ narrow }) => {
    await narrow(first!);
    expect(await holdersOfPoints(store, VM)).toEqual(
      new Map([
        [third!.id, ['replicaVm']],
        [first!.id, ['testVm', 'reader']],
      ]),
    );
    expect((await holdersOfPoints(store, VM)).has(second!.id)).toBe(false);
  });
  await store.objects.raiseFence(vmFence(VM, { epoch: 3, sequence: 0 }));
  expect(await holdersOfPoints(store, VM), 'the failover was undone').toEqual(new Map([[first!.id, ['testVm']]]));
});
