/** The recovery point of a failed-over VM is changed: on the real store and recovery compute. */
import { describe, expect, test } from 'vitest';
import { listRecoveryPoints, markSuspect } from '../../replication/recovery-points.js';
import { readVaultState } from '../../replication/replica-state.js';
import { MiB } from '../replication/model.js';
import { run } from './embedded-site.js';
import { expectAtPoint, failedOver, killedAt, vm, writeAtRecoverySite, type Site } from './failed-over-site.js';

type Activities = ReturnType<Site['activities']>;

async function chosen(all: Activities, wanted: string) {
  const checked = await run(all.checkPointChange, { vm, wanted });
  if ('refusal' in checked) throw new Error(checked.refusal);
  return checked.change;
}

/** The steps of the job, from the check's result on. */
async function change(all: Activities, { epoch, to }: Awaited<ReturnType<typeof chosen>>) {
  const stopped = await run(all.stopReplicaVm, { vm, madeBefore: epoch });
  await run(all.deleteReplicaVm, { vm, madeBefore: epoch });
  await run(all.createReplicaVmAt, { vm, epoch, recoveryPoint: to.id });
  await run(all.startReplicaVm, { vm, epoch });
  return stopped;
}

test('the replica VM then holds every byte of the other point, and nothing of what it had written', async (context) => {
  const { site, all, points } = await failedOver(context);
  await expectAtPoint(site, points[2]!);
  await writeAtRecoverySite(site, 'os', 300_032, MiB);
  const change1 = await chosen(all, points[0]!);
  expect(change1).toMatchObject({ epoch: 3, from: { id: points[2] }, to: { id: points[0], kind: 'crashConsistent' } });
  // Blocks of 64 KiB that the write touches.
  const written = [
    { name: 'os', bytes: 5 * 65_536, ranges: 1 },
    { name: 'data', bytes: 0, ranges: 0 },
  ];
  expect(change1.replicaVm).toEqual({ power: 'Running', written });
  expect(await change(all, change1)).toEqual({ power: 'Off', written });
  await expectAtPoint(site, points[0]!);
  expect(await readVaultState(site.store, vm)).toMatchObject({
    ...{ epoch: 3, phase: 'FailedOver', recoveryPoint: points[0] },
  });
  // All points are still there: back to the newest one, and once more to the same.
  for (const epoch of [4, 5]) {
    const again = await chosen(all, 'latest');
    expect(again).toMatchObject({ epoch, to: { id: points[2] } });
    await change(all, again);
    await writeAtRecoverySite(site, 'data', 4096);
  }
  await change(all, await chosen(all, points[2]!));
  await expectAtPoint(site, points[2]!);
  await run(all.commitFailover, { vm, epoch: 6, recoveryPoint: points[2]! });
  await expectAtPoint(site, points[2]!);
});

describe('a worker that is killed', () => {
  test('before any of its changes leaves a state from which the next one continues', async (context) => {
    const { site, points } = await failedOver(context);
    let wasKilled = true;
    for (let nth = 1; wasKilled; nth += 1) {
      const target = points[nth % 2]!;
      await writeAtRecoverySite(site, 'os', 4096 * nth);
      const wanted = await chosen(site.activities(), target);
      const killed = killedAt(site, nth);
      await change(killed.all, wanted).catch((error: unknown) => {
        if (!killed.isDead()) throw error;
      });
      wasKilled = killed.isDead();
      // At every instant, the vault says that the VM runs at the recovery site, and from what.
      expect(await readVaultState(site.store, vm)).toMatchObject({ phase: 'FailedOver' });
      await change(site.activities(), wanted);
      await expectAtPoint(site, target);
      expect(await readVaultState(site.store, vm)).toMatchObject({ epoch: wanted.epoch, recoveryPoint: target });
      expect((await listRecoveryPoints(site.store, vm)).map(({ id }) => id)).toEqual(points);
      if (nth > 40) throw new Error('it never ends');
    }
  });

  test('and comes back late can neither stop nor delete the replica VM that others have made since', async (context) => {
    const { site, all, points } = await failedOver(context);
    const late = await chosen(all, points[0]!);
    const now = { ...(await chosen(all, points[1]!)), epoch: late.epoch + 1 };
    await change(all, now);
    await writeAtRecoverySite(site, 'data', 4096);
    const written = (await chosen(all, 'latest')).replicaVm;
    await run(all.stopReplicaVm, { vm, madeBefore: late.epoch });
    await run(all.deleteReplicaVm, { vm, madeBefore: late.epoch });
    await expect(
      run(all.createReplicaVmAt, { vm, epoch: late.epoch, recoveryPoint: late.to.id }),
    ).rejects.toMatchObject({ type: 'StaleEpoch' });
    await expect(run(all.startReplicaVm, { vm, epoch: late.epoch })).rejects.toMatchObject({ type: 'StaleEpoch' });
    expect((await chosen(all, 'latest')).replicaVm).toEqual(written);
    expect(written.power).toBe('Running');
  });
});

test('a job that ended early: the replica VM can be started again, or committed, as the vault records it', async (context) => {
  const { site, all, points } = await failedOver(context);
  const wanted = await chosen(all, points[0]!);
  await run(all.stopReplicaVm, { vm, madeBefore: wanted.epoch });
  await run(all.restartReplicaVm, { vm });
  await expectAtPoint(site, points[2]!);
  await run(all.deleteReplicaVm, { vm, madeBefore: wanted.epoch });
  await expect(run(all.restartReplicaVm, { vm })).rejects.toMatchObject({
    type: 'InvalidVmState',
    message: expect.stringContaining(`farshore change-recovery-point ${vm} --recovery-point ${points[2]}`),
  });
  await run(all.createReplicaVmAt, { vm, epoch: wanted.epoch, recoveryPoint: points[0]! });
  await run(all.restartReplicaVm, { vm });
  // The protection still knows epoch and point of before.
  expect(await run(all.commitFailover, { vm, epoch: 2, recoveryPoint: points[2]! })).toMatchObject({
    ...{ deleted: 2, newer: { epoch: 3, recoveryPoint: { id: points[0] } } },
  });
  await expectAtPoint(site, points[0]!);
});

test('an unknown or suspect point is refused with what there is, and nothing is changed', async (context) => {
  const { site, all, points } = await failedOver(context);
  await writeAtRecoverySite(site, 'os', 512);
  const refusal = async (wanted: string) => await run(all.checkPointChange, { vm, wanted });
  expect(await refusal('0001-00000099')).toEqual({
    refusal: expect.stringMatching(`${vm} has no recovery point "0001-00000099"; it has ${points[2]} .*${points[0]} `),
  });
  expect(await refusal('latest-app-consistent')).toEqual({
    refusal: expect.stringContaining('has no recovery point for "Latest app-consistent"'),
  });
  await markSuspect(site.store, { vm, epoch: 2, reason: 'it was found damaged' });
  expect(await refusal(points[0]!)).toEqual({
    refusal: expect.stringMatching(/is suspect .*: it was found damaged\. All of its recovery points are suspect$/),
  });
  // The point that it runs from is no worse than what it has.
  expect(await chosen(all, points[2]!)).toMatchObject({ to: { suspect: 'it was found damaged' } });
  expect(await site.compute.describeVm(vm)).toMatchObject({ state: 'Running' });
});
