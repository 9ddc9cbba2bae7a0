/** The boot of a replica VM that is under way when an unplanned failover takes over from the planned one. */
import { expect, test } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { pattern } from '../replication/model.js';
import { guestWrites, openSite, run, seed, VM } from './embedded-site.js';

type Site = Awaited<ReturnType<typeof openSite>>;
type Started = Awaited<ReturnType<ReturnType<Site['activities']>['startReplicaVm']>>;
const vm = VM;
const BYTES = 65_536;
const ours = pattern(BYTES, 77);

/** A planned failover as far as the replica VM's being there, powered off; there is an older point, too. */
async function failedOver() {
  const site = await openSite();
  const all = site.activities();
  await seed(site);
  const points: string[] = [];
  for (const sequence of [1, 2]) {
    await guestWrites(site, 'os', BYTES, sequence * 50);
    const cycle = { vm, epoch: 1, sequence };
    await run(all.cutAndShip, cycle);
    const { recoveryPoint } = await run(all.applyCycle, { ...cycle, retentionHours: 2 });
    if (recoveryPoint) points.push(recoveryPoint.id);
  }
  const { recoveryPoint } = await run(all.startFailover, { vm, epoch: 1, failoverEpoch: 2 });
  return { site, all, points, last: recoveryPoint.id, boot: () => run(all.startReplicaVm, { vm, epoch: 2 }) };
}

async function guestOf({ disks }: Started): Promise<NbdGuest> {
  return NbdGuest.connect(disks.find(({ name }) => name === 'os')!.nbdUri!);
}

async function read(started: Started): Promise<Buffer> {
  const guest = await guestOf(started);
  const found = Buffer.alloc(BYTES);
  await guest.read(found, 0);
  await guest.close();
  return found;
}

async function write(started: Started): Promise<void> {
  const guest = await guestOf(started);
  await guest.write(ours, 0);
  await guest.flush();
  await guest.close();
}

test("is continued if the same state is wanted, and the guest's writes are kept", async () => {
  const { site, all, last, boot } = await failedOver();
  await write(await boot());
  const { failoverEpoch, runsFrom, refusal } = await run(all.checkUnplannedFailover, { vm, wanted: 'latest' });
  expect({ runsFrom, refusal }).toEqual({ runsFrom: last, refusal: undefined });
  const { recoveryPoint } = await run(all.settleRecoveryPoint, { vm, wanted: runsFrom! });
  expect(recoveryPoint.id).toBe(last);
  // Once more, as after a worker that died.
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await run(all.startUnplannedFailover, { vm, failoverEpoch, recoveryPoint: last });
  }
  expect((await read(await run(all.startReplicaVm, { vm, epoch: failoverEpoch }))).equals(ours)).toBe(true);
  expect((await site.store.objects.readFence(vaultPaths.vm(vm))).epoch).toBe(failoverEpoch);
  // Whoever was taken over from can't boot it any more.
  await expect(boot()).rejects.toMatchObject({ type: 'StaleEpoch' });
});

test('does not delete the disks it runs from if another state is wanted', async () => {
  const { all, points, last, boot } = await failedOver();
  await boot();
  const { refusal } = await run(all.checkUnplannedFailover, { vm, wanted: points[0]! });
  expect(refusal).toContain(`is already running, from recovery point ${last}`);
});

test('that happens only after the takeover has looked gives way to the wanted state', async () => {
  const { all, points, boot } = await failedOver();
  const { failoverEpoch, runsFrom } = await run(all.checkUnplannedFailover, { vm, wanted: points[0]! });
  expect(runsFrom).toBeUndefined();
  await write(await boot());
  await run(all.startUnplannedFailover, { vm, failoverEpoch, recoveryPoint: points[0]! });
  const found = await read(await run(all.startReplicaVm, { vm, epoch: failoverEpoch }));
  expect(found.equals(pattern(BYTES, 50))).toBe(true);
});
