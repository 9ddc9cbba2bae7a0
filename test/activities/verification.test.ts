/** A verification over both real sites, while a guest writes: one flipped byte of the replica is found where it is. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { listRecoveryPoints } from '../../replication/recovery-points.js';
import { MiB } from '../replication/model.js';
import { flipByte } from '../replication/replica-fixture.js';
import { DISK_BYTES, guestWrites, openSite, run, seed, VM } from './embedded-site.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

type Site = Awaited<ReturnType<typeof openSite>>;
const vm = VM;
const epoch = 1;

/** As the job does it. */
async function cycle({ activities }: Site, sequence: number): Promise<void> {
  const all = activities();
  await run(all.cutAndShip, { vm, epoch, sequence });
  await run(all.applyCycle, { vm, epoch, sequence, retentionHours: 2 });
}

async function compare({ activities }: Site, sequence: number, disk: string) {
  const all = activities();
  await run(all.digestForVerification, { vm, epoch, sequence, disk });
  const found = await run(all.compareDisk, { vm, epoch, sequence, disk, fromOffset: 0 });
  expect(found.done).toBe(true);
  return found;
}

const replicaFile = ({ storeFolder }: Site, disk: string) => join(storeFolder, ...replicaBlobName(VM, disk).split('/'));

test('snapshot and replica are of the same instant, whatever the guest writes; a flipped byte is found', async () => {
  const site = await openSite();
  const all = site.activities();
  await seed(site);
  await guestWrites(site, 'os', MiB);
  await cycle(site, 1);
  await guestWrites(site, 'os', 2 * MiB, 70);
  const taken = await run(all.snapshotAndCut, { vm, epoch, sequence: 2 });
  expect(await run(all.snapshotAndCut, { vm, epoch, sequence: 2 })).toEqual(taken);
  // Belongs to the next cycle, and is not in the snapshot.
  await guestWrites(site, 'os', MiB, 200);
  await guestWrites(site, 'data', MiB, 201);
  await cycle(site, 2);
  for (const disk of ['os', 'data']) {
    expect(await compare(site, 2, disk)).toMatchObject({
      blocks: (9 * MiB) / 65_536,
      differingBlocks: 0,
      ranges: [],
    });
  }
  await run(all.endVerification, { vm, epoch });
  expect(await site.store.objects.list(vaultPaths.verification(VM))).toEqual([]);

  // A byte of data, one in a hole, and the very last one.
  for (const offset of [1_000_003, 6 * MiB + 77, DISK_BYTES - 1]) await flipByte(replicaFile(site, 'os'), offset);
  expect(await compare(site, 2, 'os')).toMatchObject({
    differingBlocks: 3,
    ranges: [1_000_003, 6 * MiB + 77, DISK_BYTES - 1].map((offset) => ({ offset, length: 1 })),
  });
  expect((await compare(site, 2, 'data')).differingBlocks).toBe(0);

  // Every point there is may hold them, and every one that is made before they are repaired.
  const before = await listRecoveryPoints(site.store, VM);
  for (const damage of ['3 ranges', 'once more']) await run(all.endVerification, { vm, epoch, damage });
  const marked = before.map((point) => ({ ...point, suspect: '3 ranges' }));
  expect(await listRecoveryPoints(site.store, VM)).toEqual(marked);

  while ((await run(all.mergeSnapshot, { vm })).bytesLeft > 0);
  await guestWrites(site, 'os', MiB);
  await cycle(site, 3);
  const points = await listRecoveryPoints(site.store, VM);
  expect(points.slice(0, -1)).toEqual(marked);
  expect(points.at(-1)).toMatchObject({ sequence: 3, suspect: 'once more' });
  await expect(run(all.digestForVerification, { vm, epoch, sequence: 2, disk: 'data' })).rejects.toMatchObject({
    type: 'InvalidReplicaState',
  });
});

test('a cycle that was cut without a snapshot is refused', async () => {
  const site = await openSite();
  await seed(site);
  await cycle(site, 1);
  await expect(run(site.activities().snapshotAndCut, { vm, epoch, sequence: 1 })).rejects.toMatchObject({
    type: 'InvalidVmState',
  });
});
