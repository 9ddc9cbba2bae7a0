/** Records of slices: one each, then packed, and always told as what they are, whoever died on the way. */
import { describe, expect, test } from 'vitest';
import { RawDisk } from '../../disks/raw.js';
import { truncate, writeFile, open } from 'node:fs/promises';
import path from 'node:path';
import { appliedStateSchema, vaultPaths } from '../../domain/vault.js';
import { putKept } from '../../replication/kept-record.js';
import { prepareReplica, replicaSizeOf } from '../../replication/replica.js';
import { copySlice, type CopyProgress } from '../../replication/seed.js';
import { SLICE_SIZE } from '../../replication/seed-record.js';
import { SliceRecords } from '../../replication/slice-records.js';
import { encodeRecord } from '../../replication/vault-record.js';
import { compareWithSource, digestForVerification, endVerification } from '../../replication/verify.js';
import { verifySeed } from '../../replication/verify-seed.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { describeReplica, KiB, MiB, pattern, VM } from './model.js';
import { copiesOf, flipByte, openStore, replicaFile } from './replica-fixture.js';

const PREFIX = vaultPaths.seedPrefix(VM, 1, 'os');
const FENCE = { scope: vaultPaths.vm(VM), epoch: 1, sequence: 0 };
const recordOf = (slice: number) => Buffer.from(`record ${slice}`);
const all = Array.from({ length: 70 }, (_, slice) => slice);

async function expectRecords(records: SliceRecords, slices: readonly number[]) {
  for (const slice of slices) expect((await records.get(slice))?.toString(), `${slice}`).toBe(`record ${slice}`);
}

describe('records of slices', () => {
  test('64 consecutive ones become one object, and are read from it, even through an older opening', async () => {
    const { store } = await openStore();
    const records = await SliceRecords.open(store.objects, PREFIX);
    for (const slice of all.slice(0, 5)) await records.put(slice, recordOf(slice), FENCE);
    const reader = await SliceRecords.open(store.objects, PREFIX);
    for (const slice of all.slice(5)) await records.put(slice, recordOf(slice), FENCE);
    expect(await store.objects.list(PREFIX)).toEqual([
      `${PREFIX}00000000-00000063.pack`,
      ...[64, 65, 66, 67, 68, 69].map((slice) => `${PREFIX}000000${slice}.digests`),
    ]);
    for (const one of [records, reader, await SliceRecords.open(store.objects, PREFIX)]) await expectRecords(one, all);
    expect(await reader.get(70)).toBeUndefined();
    expect((await SliceRecords.open(store.objects, PREFIX)).has(63)).toBe(true);
  });

  test('after dying at any point, every record is there, and the next process packs them', async () => {
    const opened = await openStore();
    const before = await SliceRecords.open(opened.store.objects, PREFIX);
    await Promise.all(all.slice(0, 60).map((slice) => before.put(slice, recordOf(slice), FENCE)));
    const copy = await copiesOf(opened);
    await dieAtEveryCall(async () => {
      const { store } = await copy();
      return {
        store,
        work: async (faulty) => {
          const records = await SliceRecords.open(faulty.objects, PREFIX);
          for (const slice of [60, 61, 62, 63]) await records.putIfAbsent(slice, recordOf(slice), FENCE);
        },
        check: async () => {
          const records = await SliceRecords.open(store.objects, PREFIX);
          await expectRecords(records, all.slice(0, 64));
          expect(await store.objects.list(PREFIX)).toContain(`${PREFIX}00000000-00000063.pack`);
          await store.close();
        },
      };
    });
  });

  test('a postponed record is durable with its pack, or after a flush', async () => {
    const { store } = await openStore();
    const records = await SliceRecords.open(store.objects, PREFIX);
    for (const slice of [64, 65, ...all.slice(0, 63)]) await records.putLater(slice, recordOf(slice), FENCE);
    expect(await store.objects.list(PREFIX)).toEqual([]);
    expect(records.pendingFrom).toBe(0);
    await records.put(63, recordOf(63), FENCE);
    expect(await store.objects.list(PREFIX)).toEqual([`${PREFIX}00000000-00000063.pack`]);
    expect(records.pendingFrom).toBe(64);
    await records.flush(FENCE);
    expect(records.pendingFrom).toBe(Infinity);
    await expectRecords(await SliceRecords.open(store.objects, PREFIX), all.slice(0, 66));
  });

  test('removing one keeps the others of its pack, and a late record beside a pack does not count', async () => {
    const { store } = await openStore();
    const records = await SliceRecords.open(store.objects, PREFIX);
    await Promise.all(all.map((slice) => records.put(slice, recordOf(slice), FENCE)));
    await store.objects.put(`${PREFIX}00000007.digests`, Buffer.from('late'), FENCE);
    const other = await SliceRecords.open(store.objects, PREFIX);
    await expectRecords(other, all);
    await other.remove([7, 65], FENCE);
    const left = await SliceRecords.open(store.objects, PREFIX);
    expect(all.filter((slice) => !left.has(slice))).toEqual([7, 65]);
    expect(await left.get(7)).toBeUndefined();
    await expectRecords(
      left,
      all.filter((slice) => slice !== 7 && slice !== 65),
    );
    await left.put(7, recordOf(7), FENCE);
    await expectRecords(await SliceRecords.open(store.objects, PREFIX), all.slice(0, 64));
  });
});

/** A raw file of 66 slices that are holes, but for a few bytes in three of them. */
async function sparseSource(): Promise<{ source: RawDisk; size: number }> {
  const file = path.join(await temporaryFolder(), 'source.raw');
  const size = 66 * SLICE_SIZE;
  await writeFile(file, '');
  await truncate(file, size);
  const handle = await open(file, 'r+');
  for (const slice of [0, 40, 65]) await handle.write(pattern(4096, slice + 1), 0, 4096, slice * SLICE_SIZE + MiB);
  await handle.close();
  return { source: await RawDisk.open(file, { readOnly: true }), size };
}

test('a copy of 66 slices writes few records, reports only durable slices, and is verified and repaired from its pack', async () => {
  const { store, folder } = await openStore();
  const { source, size } = await sparseSource();
  await prepareReplica(store, describeReplica({ os: size }, 1), { epoch: 1, sequence: 0 });
  const task = { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity, fence: { epoch: 1, sequence: 0 } };
  const written: unknown[] = [];
  const counting = intercept(store, 'objects.put', { before: async (name) => written.push(name) });
  const told: CopyProgress[] = [];
  await copySlice(counting, source, task, { onProgress: (progress) => told.push(progress) });
  // Two records of slices with data in the pack, and two behind it.
  expect(written).toHaveLength(4);
  expect(told.filter(({ nextOffset }) => nextOffset % SLICE_SIZE !== 0 && nextOffset !== replicaSizeOf(size))).toEqual(
    [],
  );
  expect(told.some(({ nextOffset, bytesDone }) => nextOffset < bytesDone)).toBe(true);
  const verify = () => verifySeed(store, { vm: VM, disk: 'os', epoch: 1 });
  await flipByte(replicaFile(folder, 'os'), 40 * SLICE_SIZE + MiB);
  await expect(verify()).rejects.toMatchObject({ code: 'ReplicaDiffers' });
  await copySlice(store, source, task);
  expect(await verify()).toEqual({ seedComplete: true });
  await source.close();
});

test('a verification of 66 slices leaves few records, compares with them, and deletes all of them', async () => {
  const { store } = await openStore();
  const { source, size } = await sparseSource();
  const fence = { epoch: 1, sequence: 0 };
  await prepareReplica(store, describeReplica({ os: size }, 1), fence);
  await copySlice(store, source, { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity, fence });
  const applied = { ...fence, sealedAt: '2026-01-01T00:00:00.000Z', final: false, disks: [] };
  await putKept(store.objects, vaultPaths.applied(VM), encodeRecord(appliedStateSchema, applied), FENCE);
  const task = { vm: VM, disk: 'os', ...fence };
  await digestForVerification(store, task);
  const prefix = vaultPaths.verificationPrefix(VM, 1, 0, 'os');
  expect(await store.objects.list(prefix)).toEqual([
    `${prefix}00000000-00000063.pack`,
    `${prefix}00000064.digests`,
    `${prefix}00000065.digests`,
  ]);
  for (const slice of [0, 40, 65]) {
    const fromOffset = slice * SLICE_SIZE;
    const compared = await compareWithSource(store, source, { ...task, fromOffset }, () => true);
    expect(compared).toMatchObject({ differingBlocks: 0, blocks: SLICE_SIZE / (64 * KiB) });
  }
  await endVerification(store, task);
  expect(await store.objects.list(vaultPaths.verification(VM))).toEqual([]);
  await source.close();
});

test('a copy that is interrupted at any point continues from the last slice reported as durable', async () => {
  const { source, size } = await sparseSource();
  const task = { vm: VM, disk: 'os', maxBytes: Infinity, fence: { epoch: 1, sequence: 0 } };
  for (const stopAt of [1, 5, 41, 64, 66]) {
    const { store } = await openStore();
    await prepareReplica(store, describeReplica({ os: size }, 1), { epoch: 1, sequence: 0 });
    const controller = new AbortController();
    let fromOffset = 0;
    let told = 0;
    const onProgress = ({ nextOffset }: CopyProgress) => {
      fromOffset = nextOffset;
      told += 1;
      if (told === stopAt) controller.abort(new Error('stop'));
    };
    await expect(
      copySlice(store, source, { ...task, fromOffset: 0 }, { signal: controller.signal, onProgress }),
    ).rejects.toThrow('stop');
    await copySlice(store, source, { ...task, fromOffset });
    expect(await verifySeed(store, { vm: VM, disk: 'os', epoch: 1 })).toEqual({ seedComplete: true });
    await store.close();
  }
  await source.close();
});
