/**
 * A file system that takes for a hole what is none, of the source or of the store: neither a copy, nor a resynchronization,
 * nor a verification believes it. What is compared with is known apart from both.
 */
import { expect, test } from 'vitest';
import type { ReadableDisk } from '../../disks/disk.js';
import { vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { prepareReplica } from '../../replication/replica.js';
import { beginResync } from '../../replication/resync.js';
import { copySlice } from '../../replication/seed.js';
import { shipCycle } from '../../replication/ship.js';
import { digestReplica } from '../../replication/target-digests.js';
import { compareWithSource, digestForVerification } from '../../replication/verify.js';
import { verifySeed } from '../../replication/verify-seed.js';
import type { DataRangeOptions } from '../../ports/replica-disks.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { watchedStore } from '../support/watched-store.js';
import { describeReplica, KiB, MiB, Model, sizesOf, VM, write } from './model.js';
import { expectReplicaOf, openStore, rawDiskOf } from './replica-fixture.js';
import { writeDisk } from '../support/replica-disks.js';

const SIZE = 12 * MiB + 512;
/** Data that is taken for a hole: 4 MiB at 4 MiB, and the end of the disk. */
const hidden = [
  { offset: 4 * MiB, length: 4 * MiB },
  { offset: 12 * MiB, length: 512 },
];
const isHidden = (offset: number) =>
  hidden.some((range) => offset >= range.offset && offset < range.offset + range.length);

const model = () => {
  const made = new Model({ os: SIZE });
  for (const { offset, length } of [{ offset: 0, length: 64 * KiB }, ...hidden])
    made.write('os', write(offset, length, 3));
  return made;
};

async function lying(content: Buffer): Promise<ReadableDisk> {
  const disk = await rawDiskOf(content);
  return {
    size: disk.size,
    read: (target, offset) => disk.read(target, offset),
    readUncached: (target, offset) => disk.readUncached(target, offset),
    dataRanges: async (range) =>
      (await disk.dataRanges(range))
        .filter(({ offset }) => !isHidden(offset))
        .map((found) => ({ ...found, length: Math.min(found.length, 64 * KiB) })),
    close: () => disk.close(),
  };
}

/** A store whose file system says that everything is a hole. */
const believing = (store: ReplicaStore): ReplicaStore =>
  watchedStore(store, async (operation, args, call) => {
    const isBelieved = operation === 'disk.dataRanges' && !(args[1] as DataRangeOptions | undefined)?.isProof;
    return isBelieved ? [] : await call();
  });

async function copy(store: ReplicaStore, content: Buffer, epoch: number): Promise<void> {
  const disk = await lying(content);
  const fence = { epoch, sequence: 0 };
  await copySlice(store, disk, { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity, fence });
  await disk.close();
  await verifySeed(store, { vm: VM, disk: 'os', epoch });
}

test('an initial copy has the content that the source reads, whatever it reports as holes', async () => {
  const { store, folder } = await openStore();
  const source = model();
  await prepareReplica(store, describeReplica(sizesOf(source), 1), { epoch: 1, sequence: 0 });
  await copy(store, source.disks.get('os')!, 1);
  await expectReplicaOf(folder, source);
});

test('a resynchronization has the content that either side reads, and a verification reads every byte of both', async () => {
  const { store, folder } = await openStore();
  const source = model();
  await prepareReplica(store, describeReplica(sizesOf(source), 1), { epoch: 1, sequence: 0 });
  await copy(store, source.disks.get('os')!, 1);
  const at = { vm: VM, epoch: 1, sequence: 1 };
  const { cut, changeSet } = source.seal(1, 1);
  await shipCycle(store, changeSet, cut, at);
  await applyCycle(store, at);

  // The replica holds something where the source has zeroes, and zeroes where the source has data.
  const os = { vm: VM, disk: 'os' };
  const fence = { scope: vaultPaths.vm(VM), epoch: 1, sequence: 1 };
  await writeDisk(store.disks, os, [{ offset: 1 * MiB, data: Buffer.alloc(4096, 7) }], fence);
  await writeDisk(store.disks, os, [{ offset: 4 * MiB, clear: 4 * MiB }], fence);
  const mistaken = believing(store);
  await digestForVerification(mistaken, { ...at, disk: 'os' });
  const disk = await lying(source.disks.get('os')!);
  const found = await compareWithSource(mistaken, disk, { ...at, disk: 'os', fromOffset: 0 }, () => false);
  await disk.close();
  expect(found).toMatchObject({ done: true, differingBlocks: 1 + (4 * MiB) / (64 * KiB) });
  expect(found.ranges[0]).toEqual({ offset: 1 * MiB, length: 4096 });

  const disks = Object.entries(sizesOf(source)).map(([name, size]) => ({ name, size }));
  await beginResync(store, { vm: VM, epoch: 2, disks });
  await digestReplica(mistaken, { vm: VM, disk: 'os', epoch: 2 });
  await copy(store, source.disks.get('os')!, 2);
  await expectReplicaOf(folder, source);
});
