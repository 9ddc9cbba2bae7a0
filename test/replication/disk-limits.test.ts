/** What a replica can hold is asked before anything is made, or changed, for a disk that is larger. */
import { expect, test } from 'vitest';
import { exceededLimits, MAX_REPLICA_BYTES } from '../../domain/disk-limits.js';
import { vaultPaths } from '../../domain/vault.js';
import { prepareReplica } from '../../replication/replica.js';
import { readDescription } from '../../replication/replica-state.js';
import { beginResync } from '../../replication/resync.js';
import { requireReader, runReader } from '../support/readers.js';
import { describeReplica, MiB, VM } from './model.js';
import { openStore, replicaFile } from './replica-fixture.js';

const tooLarge = {
  code: 'PrerequisitesNotMet',
  detail: expect.stringMatching(
    /disk os has 2190434369536 bytes, but a replica can hold at most 2190433320960 \(2,040 GiB\): shrink it/,
  ),
};

test('qemu-img opens a replica of the largest size, and refuses a larger one', async (context) => {
  requireReader('qemu-img', context);
  const { store, folder } = await openStore();
  await prepareReplica(store, describeReplica({ os: MAX_REPLICA_BYTES }, 1), { epoch: 1, sequence: 0 });
  const info = await runReader('qemu-img', 'info', '-f', 'vpc', '--output=json', replicaFile(folder, 'os'));
  expect(JSON.parse(info)).toMatchObject({ 'virtual-size': MAX_REPLICA_BYTES });
});

test('a replica of a larger disk is refused, and nothing is created for it', async () => {
  const { store } = await openStore();
  const description = describeReplica({ os: MAX_REPLICA_BYTES + MiB }, 1);
  await expect(prepareReplica(store, description, { epoch: 1, sequence: 0 })).rejects.toMatchObject(tooLarge);
  expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 0, sequence: 0 });
  expect(await store.objects.list('')).toEqual([]);
});

test('a disk that grew too large, or is one too many, is refused before the set of disks changes', async () => {
  const { store } = await openStore();
  await prepareReplica(store, describeReplica({ os: 4 * MiB }, 1), { epoch: 1, sequence: 0 });
  const before = await readDescription(store, VM);
  const refused = async (disks: { name: string; size: number }[], error: object) => {
    await expect(beginResync(store, { vm: VM, epoch: 2, disks })).rejects.toMatchObject(error);
    expect(await readDescription(store, VM)).toEqual(before);
    expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 1, sequence: 0 });
    expect(await store.disks.size({ vm: VM, disk: 'os' })).toBe(4 * MiB);
  };
  await refused([{ name: 'os', size: MAX_REPLICA_BYTES + MiB }], tooLarge);
  const many = Array.from({ length: 18 }, (_, number) => ({ name: `disk${number}`, size: 4 * MiB }));
  await refused(many, {
    code: 'PrerequisitesNotMet',
    detail: expect.stringContaining('17 data disks, but at most 16 are supported'),
  });
});

test('disks within the limits are accepted, and all faults of others are reported', () => {
  expect(exceededLimits([{ name: 'os', size: MAX_REPLICA_BYTES }])).toEqual([]);
  const large = Array.from({ length: 18 }, (_, number) => ({ name: `disk${number}`, size: MAX_REPLICA_BYTES + 512 }));
  expect(exceededLimits(large)).toHaveLength(19);
});
