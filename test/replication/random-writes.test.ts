/** Many small writes anywhere, over each other, in one cycle: tracked, sent and applied, with others reading the result. */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { RawDisk } from '../../disks/raw.js';
import { applyCycle } from '../../replication/apply.js';
import { openLogChangeSet } from '../../tracking/log-change-set.js';
import { prepareReplica } from '../../replication/replica.js';
import { copySlice } from '../../replication/seed.js';
import { shipCycle } from '../../replication/ship.js';
import { Tracker } from '../../tracking/tracker.js';
import { verifySeed } from '../../replication/verify-seed.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { FaultyStore } from './faulty-store.js';
import { describeReplica, KiB, MiB, pattern, VM } from './model.js';
import { openStore, replicaFile } from './replica-fixture.js';

const DISK_BYTES = 160 * MiB;
/** Where the writes go; each block is written some three times. */
const REGION_BLOCKS = 4096;
const WRITES = 12_000;
const BLOCK = 4 * KiB;
const SECTOR = 512;
const epoch = 1;
const sequence = 1;

test('the replica equals the disk, whichever processes died', async (context) => {
  requireReader('qemu-img', context);
  const file = path.join(await temporaryFolder(), 'os.img');
  const created = await open(file, 'wx');
  await created.truncate(DISK_BYTES);
  await created.write(pattern(2 * MiB, 1), 0, 2 * MiB, 14 * MiB);
  await created.close();
  const { store, folder } = await openStore();
  await prepareReplica(store, describeReplica({ os: DISK_BYTES }, epoch), { epoch, sequence: 0 });
  const source = await RawDisk.open(file, { readOnly: true });
  const all = { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity, fence: { epoch, sequence: 0 } };
  await copySlice(store, source, all);
  await source.close();
  await verifySeed(store, { vm: VM, disk: 'os', epoch });

  const chain = await RawDisk.open(file);
  const tracker = await Tracker.load(VM, [{ name: 'os', path: file, chain }], {
    bootId: '11111111-2222-3333-4444-555555555555',
    freeSpaceFloor: 0,
    warn: (message) => {
      throw new Error(message);
    },
  });
  await tracker.start(epoch);
  const [disk] = tracker.disks;
  const content = pattern(64 * KiB, 2);
  let random = 1;
  const below = (limit: number) => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return (random >>> 8) % limit;
  };
  const sectors = new Set<number>();
  let pending: Promise<void>[] = [];
  for (let write = 0; write < WRITES; write += 1) {
    // Most are blocks as file systems write them, the others begin and end anywhere.
    const isBlock = write % 4 !== 0;
    const offset = isBlock ? below(REGION_BLOCKS) * BLOCK : below(REGION_BLOCKS * 8) * SECTOR;
    const length = isBlock ? BLOCK : (1 + below(24)) * SECTOR;
    for (let at = offset; at < offset + length; at += SECTOR) sectors.add(at);
    const from = write % (48 * KiB);
    pending.push(
      write % 50 === 0
        ? disk!.writeZeroes({ offset, length })
        : disk!.write(content.subarray(from, from + length), offset),
    );
    if (pending.length < 64) continue;
    await Promise.all(pending);
    pending = [];
  }
  await Promise.all(pending);
  const cut = await tracker.cut({ epoch, sequence }, true);
  expect(tracker.resyncCause).toBeUndefined();

  const changes = await openLogChangeSet(
    cut.disks.map(({ name, size, token, lastWrite }) => {
      return {
        path: path.join(path.dirname(file), token),
        vm: VM,
        disk: name,
        diskSize: size,
        epoch,
        sequence,
        lastWrite,
      };
    }),
  );
  const died = async (work: (on: FaultyStore) => Promise<unknown>, failAt: number) =>
    await expect(work(new FaultyStore(store, failAt))).rejects.toMatchObject({ code: 'StoreUnreachable' });
  const ship = (on: Pick<FaultyStore, 'store'>) => shipCycle(on.store, changes, cut, cut);
  for (const failAt of [1, 2, 3, 4]) await died(ship, failAt);
  const manifest = await ship({ store });
  await changes.close();
  // Each sector once, however often it was written.
  expect(manifest.disks[0]!.dataBytes).toBeLessThanOrEqual(sectors.size * SECTOR);

  const apply = (on: Pick<FaultyStore, 'store'>) => applyCycle(on.store, { vm: VM, epoch, sequence });
  for (const failAt of [6, 12, 14, 16]) await died(apply, failAt);
  await apply({ store });
  await disk!.flush();
  await tracker.close();
  await chain.close();
  const compared = await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', file, replicaFile(folder, 'os'));
  expect(compared).toContain('identical');
});
