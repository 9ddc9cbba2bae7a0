/** Replica disks as page blobs: whatever becomes of a call, what is there is a VHD, and its footer is none of the content. */
import { open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { openVhd } from '../../disks/vhd.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { PageBlobs } from '../../sites/page-blobs.js';
import { replicaBlobName, VhdDisks } from '../../sites/vhd-disks.js';
import { content } from '../support/content.js';
import { readDisk, writeDisk } from '../support/replica-disks.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const KiB = 1024;
const DISK = { vm: 'db-01', disk: 'os' };
const NOW = { epoch: 1, sequence: 0 };

async function filledStore() {
  const folder = path.join(await temporaryFolder(), 'store');
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  await store.disks.create(DISK, 64 * KiB, NOW);
  await writeDisk(store.disks, DISK, [{ offset: 0, data: content(64 * KiB, 1) }], NOW);
  return { store, file: path.join(folder, replicaBlobName('db-01', 'os')) };
}

async function expectVhd(file: string, expected: Buffer): Promise<void> {
  const vhd = await openVhd(file, { readOnly: true });
  expect(vhd.size).toBe(expected.length);
  await vhd.close();
  expect((await readFile(file)).subarray(0, expected.length).equals(expected)).toBe(true);
}

/** Page blobs that are cut off before the n-th change of them, counted from 1. */
function dyingAt(blobs: PageBlobs, n: number): PageBlobs {
  let changes = 0;
  return new Proxy(blobs, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]): Promise<unknown> => {
        if (['create', 'resize', 'write'].includes(String(property)) && (changes += 1) === n) throw new Error('died');
        return await (value as (...rest: unknown[]) => Promise<unknown>).apply(target, args);
      };
    },
  });
}

test('creating and growing a disk, interrupted anywhere and repeated, leaves a VHD with zeroes behind the content', async () => {
  for (let diesAt = 1; diesAt <= 3; diesAt += 1) {
    const { store, file } = await filledStore();
    const dying = new VhdDisks(dyingAt(store.pageBlobs, diesAt));
    await expect(dying.resize(DISK, 256 * KiB, NOW)).rejects.toThrow('died');
    await store.disks.resize(DISK, 256 * KiB, NOW);
    await expectVhd(file, Buffer.concat([content(64 * KiB, 1)], 256 * KiB));

    const other = { ...DISK, disk: 'data' };
    const half = new VhdDisks(dyingAt(store.pageBlobs, Math.min(diesAt, 2)));
    await expect(half.create(other, 64 * KiB, NOW)).rejects.toThrow('died');
    await store.disks.create(other, 64 * KiB, NOW);
    await expectVhd(path.join(path.dirname(file), 'data.vhd'), Buffer.alloc(64 * KiB));
  }
});

test('the footer can be neither read nor written as content, even in a snapshot of a disk that grew since', async () => {
  const { store, file } = await filledStore();
  const opened = await store.disks.open(DISK, NOW);
  expect(await opened.dataRanges({ offset: 0, length: 64 * KiB })).toEqual([{ offset: 0, length: 64 * KiB }]);
  await expect(opened.read(Buffer.alloc(512), 64 * KiB)).rejects.toMatchObject({ code: 'InvalidReplicaState' });
  await expect(opened.dataRanges({ offset: 0, length: 64 * KiB + 512 })).rejects.toMatchObject({
    code: 'InvalidReplicaState',
  });
  await expect(opened.write([{ offset: 64 * KiB, clear: 512 }])).rejects.toMatchObject({ code: 'InvalidReplicaState' });
  const snapshot = await store.disks.snapshot(DISK, NOW);
  await store.disks.resize(DISK, 128 * KiB, NOW);
  expect(await store.disks.size(DISK, snapshot)).toBe(64 * KiB);
  expect((await readDisk(store.disks, DISK, 0, 64 * KiB, snapshot)).equals(content(64 * KiB, 1))).toBe(true);
  await expectVhd(file, Buffer.concat([content(64 * KiB, 1)], 128 * KiB));
});

test('a damaged footer is reported, and is rewritten', async () => {
  const { store, file } = await filledStore();
  expect(await store.disks.mend(DISK, NOW)).toBeUndefined();
  const handle = await open(file, 'r+');
  await handle.write(Buffer.alloc(1, 0xff), 0, 1, 64 * KiB + 100);
  await handle.close();
  await expect(openVhd(file, { readOnly: true })).rejects.toMatchObject({ code: 'BrokenChain' });
  expect(await store.disks.mend(DISK, NOW)).toContain('footer');
  await expectVhd(file, content(64 * KiB, 1));
  expect(await store.disks.mend(DISK, NOW)).toBeUndefined();
});
