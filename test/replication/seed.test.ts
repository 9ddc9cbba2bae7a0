import { open, rm, truncate, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { RawDisk } from '../../disks/raw.js';
import { dataRanges } from '../../disks/native.js';
import { alignDown, end, mergeRanges } from '../../domain/ranges.js';
import { vaultPaths } from '../../domain/vault.js';
import { BLOCK_SIZE } from '../../replication/digest.js';
import { readDescription } from '../../replication/replica-state.js';
import { prepareReplica, replicaSizeOf } from '../../replication/replica.js';
import { copySlice, type CopyProgress } from '../../replication/seed.js';
import { releaseSeed, SLICE_SIZE } from '../../replication/seed-record.js';
import { verifySeed } from '../../replication/verify-seed.js';
import { requireReader, runReader } from '../support/readers.js';
import { watchedStore } from '../support/watched-store.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { describeReplica, KiB, MiB, Model, pattern, sizesOf, VM, write } from './model.js';
import { copiesOf, flipByte, openStore, rawDiskOf, replicaBytes, replicaFile, seedReplica } from './replica-fixture.js';
import { writeDisk } from '../support/replica-disks.js';

const FENCE = { epoch: 1, sequence: 0 };
const copyAll = { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity, fence: FENCE };
const FIRST_RECORD = `${vaultPaths.seedPrefix(VM, 1, 'os')}00000000.digests`;
const osTask = { vm: VM, disk: 'os', epoch: 1 };

/** Ends inside a block and inside a MiB. */
const SOURCE_SIZE = 2 * SLICE_SIZE + 3 * MiB + 65 * KiB + 512;

/** A raw file of three slices, mostly holes. */
async function sparseSource(): Promise<{ file: string; size: number }> {
  const file = path.join(await temporaryFolder(), 'source.raw');
  const size = SOURCE_SIZE;
  await writeFile(file, '');
  await truncate(file, size);
  const handle = await open(file, 'r+');
  const put = async (offset: number, data: Buffer) => void (await handle.write(data, 0, data.length, offset));
  await put(0, pattern(5 * MiB + 512, 1));
  await put(20 * MiB + 512, pattern(512, 2));
  await put(30 * MiB, Buffer.alloc(2 * MiB));
  await put(SLICE_SIZE - 4096, pattern(8192, 3));
  await put(2 * SLICE_SIZE + 1 * MiB + 100 * KiB, pattern(70 * KiB, 4));
  await put(size - 512, pattern(512, 5));
  await handle.close();
  return { file, size };
}

async function prepared() {
  const { store, folder } = await openStore();
  const { file, size } = await sparseSource();
  const source = await RawDisk.open(file, { readOnly: true });
  await prepareReplica(store, describeReplica({ os: size }, 1), FENCE);
  const expectEqual = () => expectSameContent(file, replicaFile(folder, 'os'), replicaSizeOf(size));
  return { store, folder, file, size, source, expectEqual };
}

/** Up to `length` bytes, where a file that is shorter goes on with zeroes. Reads no holes: most of both files is. */
async function expectSameContent(file: string, other: string, length: number): Promise<void> {
  const handles = await Promise.all([open(file, 'r'), open(other, 'r')]);
  const ranges = handles.map((handle) => dataRanges(handle.fd, { offset: 0, length }));
  for (const range of mergeRanges(ranges.flat())) {
    const [a, b] = [Buffer.alloc(range.length), Buffer.alloc(range.length)];
    await handles[0]!.read(a, 0, range.length, range.offset);
    await handles[1]!.read(b, 0, range.length, range.offset);
    expect(a.equals(b), `bytes ${range.offset} to ${end(range) - 1}`).toBe(true);
  }
  await Promise.all(handles.map((handle) => handle.close()));
}

describe('initial copy', () => {
  test('if a store reports pages outside the requested slice, they are not cleared', async () => {
    const { store, source, expectEqual } = await prepared();
    const whole = { offset: 0, length: replicaSizeOf(SOURCE_SIZE) };
    const telling = watchedStore(store, async (operation, _, call) =>
      operation === 'disk.dataRanges' ? [whole] : await call(),
    );
    await copySlice(telling, source, { ...copyAll, toOffset: SLICE_SIZE });
    await copySlice(telling, source, copyAll);
    await expectEqual();
    expect(await verifySeed(telling, osTask)).toEqual({ seedComplete: true });
    await source.close();
  });

  test('the replica is a VHD that qemu-img finds identical, and holes stay holes', async (context) => {
    requireReader('qemu-img', context);
    const { store, folder, file, size, source } = await prepared();
    const result = await copySlice(store, source, copyAll);
    expect(result).toMatchObject({ nextOffset: replicaSizeOf(size), done: true });
    // Data comes in blocks of 64 KiB: 81 of the first write, one each of 20 MiB, two across the slices' border, ...
    expect(result.dataBytes).toBeLessThan(6.5 * MiB);
    const replica = replicaFile(folder, 'os');
    expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', file, replica)).toContain('identical');
    const info: unknown = JSON.parse(await runReader('qemu-img', 'info', '-f', 'vpc', '--output=json', replica));
    expect(info).toMatchObject({ 'virtual-size': replicaSizeOf(size) });
    expect((info as { 'actual-size': number })['actual-size']).toBeLessThan(8 * MiB);
    expect(await verifySeed(store, osTask)).toEqual({ seedComplete: true });
    expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 1, sequence: 1 });
    // Verified already: nothing is read, nothing lowered.
    expect(await verifySeed(store, osTask)).toEqual({ seedComplete: true });
    await source.close();
  });

  test('stops after maxBytes at the end of a slice, reports checkpoints without gaps, and continues from them', async () => {
    const { store, source, size, expectEqual } = await prepared();
    const first = await copySlice(store, source, { ...copyAll, maxBytes: 1 });
    expect(first).toMatchObject({ nextOffset: SLICE_SIZE, bytesDone: SLICE_SIZE, done: false });
    const checkpoints: CopyProgress[] = [];
    const rest = await copySlice(
      store,
      source,
      { ...copyAll, fromOffset: first.nextOffset },
      { onProgress: (progress) => checkpoints.push(progress) },
    );
    expect(checkpoints.map(({ nextOffset }) => nextOffset)).toEqual([2 * SLICE_SIZE, replicaSizeOf(size)]);
    expect(rest).toMatchObject({ bytesDone: replicaSizeOf(size) - SLICE_SIZE, done: true });
    expect(await copySlice(store, source, copyAll)).toMatchObject({ dataBytes: 0, done: true });
    await expectEqual();
    await source.close();
  });

  test('aborted, it can be run again', async () => {
    const { store, source, expectEqual } = await prepared();
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort(new Error('stop')) };
    await expect(copySlice(store, source, copyAll, options)).rejects.toThrow('stop');
    await copySlice(store, source, copyAll);
    await expectEqual();
    await source.close();
  });

  test('after dying at any call to the store, ends with the same bytes', async () => {
    const calls = await dieAtEveryCall(async () => {
      const { store, source, expectEqual } = await prepared();
      return {
        store,
        work: async (faulty) => {
          await copySlice(faulty, source, copyAll);
          await verifySeed(faulty, osTask);
        },
        check: async () => {
          await expectEqual();
          expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 1, sequence: 1 });
          await source.close();
        },
      };
    });
    expect(calls).toBeGreaterThan(15);
  });

  test('data that a dead attempt wrote and the source no longer has is removed', async () => {
    const { store, source, expectEqual } = await prepared();
    // As of an attempt whose slice got no record: data where the source has a hole, a zero block and data.
    const fence = { scope: vaultPaths.vm(VM), ...FENCE };
    const writes = [25 * MiB, 30 * MiB, 1 * MiB].map((offset) => ({ offset, data: pattern(3 * 512, 9) }));
    await writeDisk(store.disks, { vm: VM, disk: 'os' }, writes, fence);
    await copySlice(store, source, copyAll);
    await expectEqual();
    await source.close();
  });

  test.each([
    ['source of another size', async (file: string) => truncate(file, 2 * SLICE_SIZE), {}, 'InvalidReplicaState'],
    ['unknown disk', async () => undefined, { disk: 'data' }, 'InvalidReplicaState'],
    ['newer epoch than the replica', async () => undefined, { fence: { epoch: 2, sequence: 0 } }, 'ReplicaMissing'],
    ['older epoch than the replica', async () => undefined, { fence: { epoch: 0, sequence: 9 } }, 'StaleEpoch'],
  ])('refuses a %s', async (_name, change, task, code) => {
    const { store, source, file, folder } = await prepared();
    await source.close();
    await change(file);
    const changed = await RawDisk.open(file, { readOnly: true });
    await expect(copySlice(store, changed, { ...copyAll, ...task })).rejects.toMatchObject({ code });
    expect((await replicaBytes(folder, 'os', 64 * KiB)).every((byte) => byte === 0)).toBe(true);
    await changed.close();
  });

  test('a copier that was thought dead is refused once the copy has been verified', async () => {
    const { store, source, expectEqual } = await prepared();
    await copySlice(store, source, copyAll);
    await verifySeed(store, osTask);
    // Its record is gone, so that it would write.
    await store.objects.delete(FIRST_RECORD, { scope: vaultPaths.vm(VM), epoch: 1, sequence: 1 });
    await expect(copySlice(store, source, copyAll)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await expectEqual();
    await source.close();
  });
});

describe('reading the initial copy back', () => {
  const size = SOURCE_SIZE;
  const blockAt = (offset: number) => {
    const start = alignDown(offset, BLOCK_SIZE);
    return `bytes ${start} to ${start + BLOCK_SIZE - 1}`;
  };
  test.each([
    ['in data', 1 * MiB + 7, blockAt(1 * MiB)],
    ['in a hole', SLICE_SIZE + 10 * MiB, blockAt(SLICE_SIZE + 10 * MiB)],
    ['in the last sector', size - 1, blockAt(size - 1)],
    ['in the padding', size + 1, blockAt(size + 1)],
    ['in the footer', replicaSizeOf(size) + 40, 'footer'],
  ])('one flipped byte %s is found, named, and mended by copying again', async (_name, offset, named) => {
    const { store, folder, source, expectEqual } = await prepared();
    await copySlice(store, source, copyAll);
    await flipByte(replicaFile(folder, 'os'), offset);
    await expect(verifySeed(store, osTask)).rejects.toMatchObject({
      code: 'ReplicaDiffers',
      detail: expect.stringContaining(named),
    });
    expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual(FENCE);
    await copySlice(store, source, copyAll);
    await expectEqual();
    expect(await verifySeed(store, osTask)).toEqual({ seedComplete: true });
    await source.close();
  });

  test('a damaged record counts as missing, and its slice is sent again', async () => {
    const { store, folder, source, expectEqual } = await prepared();
    await copySlice(store, source, copyAll);
    await flipByte(path.join(folder, ...FIRST_RECORD.split('/')), 200);
    await expect(verifySeed(store, osTask)).rejects.toMatchObject({
      code: 'ReplicaDiffers',
      detail: expect.stringContaining(`bytes 0 to ${SLICE_SIZE - 1}`),
    });
    expect((await copySlice(store, source, copyAll)).dataBytes).toBeGreaterThan(5 * MiB);
    expect(await verifySeed(store, osTask)).toEqual({ seedComplete: true });
    await expectEqual();
    await source.close();
  });

  test('a slice that was never copied is named', async () => {
    const { store, source } = await prepared();
    await copySlice(store, source, { ...copyAll, fromOffset: SLICE_SIZE });
    await expect(verifySeed(store, osTask)).rejects.toMatchObject({
      code: 'InvalidReplicaState',
      detail: expect.stringContaining(`bytes 0 to ${SLICE_SIZE - 1}`),
    });
    await source.close();
  });

  test('the copy is complete only with the last disk', async () => {
    const { store } = await openStore();
    const model = new Model({ os: 2 * MiB, data: 1 * MiB });
    model.write('data', write(0, 4096, 1));
    await prepareReplica(store, describeReplica(sizesOf(model), 1), FENCE);
    for (const disk of ['os', 'data']) {
      const source = await rawDiskOf(model.disks.get(disk)!);
      await copySlice(store, source, { ...copyAll, disk });
      await source.close();
    }
    expect(await verifySeed(store, osTask)).toEqual({ seedComplete: false });
    expect(await verifySeed(store, osTask)).toEqual({ seedComplete: false });
    expect(await verifySeed(store, { ...osTask, disk: 'data' })).toEqual({ seedComplete: true });
    await expect(releaseSeed(store, { vm: VM, epoch: 1 })).rejects.toMatchObject({ code: 'InvalidReplicaState' });
  });
});

describe('preparing a replica', () => {
  test('repeated under the same epoch, keeps the data that was copied', async () => {
    const { store, folder } = await openStore();
    const model = new Model({ os: 3 * MiB });
    model.write('os', write(0, 1 * MiB, 1));
    await seedReplica(store, model);
    const finalized = { ...describeReplica(sizesOf(model), 1), finalized: true };
    const fence = { scope: vaultPaths.vm(VM), epoch: 1, sequence: 1 };
    await store.objects.put(vaultPaths.description(VM), Buffer.from(JSON.stringify(finalized)), fence);
    await prepareReplica(store, describeReplica(sizesOf(model), 1), FENCE);
    expect((await replicaBytes(folder, 'os', 3 * MiB)).equals(model.disks.get('os')!)).toBe(true);
    expect(JSON.parse((await store.objects.get(vaultPaths.description(VM)))!.toString())).toEqual(finalized);
    expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 1, sequence: 1 });
  });

  test('under a newer epoch, begins from nothing, even with other disks; after dying at any point, it can be run again', async () => {
    const opened = await openStore();
    const model = new Model({ os: 1 * MiB, old: 1 * MiB });
    model.write('os', write(0, 1 * MiB, 1));
    await seedReplica(opened.store, model);
    const copy = await copiesOf(opened);
    const calls = await dieAtEveryCall(async () => {
      const { store, folder } = await copy();
      const description = describeReplica({ os: 2 * MiB, data: 1 * MiB }, 2);
      return {
        store,
        work: (faulty) => prepareReplica(faulty, description, { epoch: 2, sequence: 0 }),
        check: async () => {
          expect((await replicaBytes(folder, 'os', 2 * MiB)).every((byte) => byte === 0)).toBe(true);
          expect(existsSync(replicaFile(folder, 'old'))).toBe(false);
          expect(await store.disks.size({ vm: VM, disk: 'data' })).toBe(1 * MiB);
          expect(await store.objects.list(vaultPaths.seeds(VM))).toEqual([]);
          expect(await readDescription(store, VM)).toEqual(description);
          expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 2, sequence: 0 });
        },
      };
    });
    expect(calls).toBeGreaterThan(15);
  });

  test('an attempt that was thought dead can delete nothing after another one has succeeded', async () => {
    const { store, folder } = await openStore();
    const model = new Model({ os: 1 * MiB });
    model.write('os', write(0, 4096, 1));
    await seedReplica(store, model);
    // The late one stops just before it deletes the blob, until the other has prepared and copied.
    let proceed = (): void => undefined;
    const held = new Promise<void>((resolve) => (proceed = resolve));
    let reached = (): void => undefined;
    const there = new Promise<void>((resolve) => (reached = resolve));
    const late = intercept(store, 'disks.delete', {
      before: () => {
        reached();
        return held;
      },
    });
    const description = describeReplica(sizesOf(model), 2);
    const lateAttempt = prepareReplica(late, description, { epoch: 2, sequence: 0 });
    const lateEnd = expect(lateAttempt).rejects.toMatchObject({ code: 'StaleEpoch' });
    await there;
    await seedReplica(store, model, 2);
    proceed();
    await lateEnd;
    expect((await replicaBytes(folder, 'os', 1 * MiB)).equals(model.disks.get('os')!)).toBe(true);
  });

  test('refuses an older epoch, other disks under the same epoch, and a missing blob', async () => {
    const { store, folder } = await openStore();
    await prepareReplica(store, describeReplica({ os: 1 * MiB }, 2), { epoch: 2, sequence: 0 });
    const prepare = (size: number, epoch: number) =>
      prepareReplica(store, describeReplica({ os: size }, epoch), { epoch, sequence: 0 });
    await expect(prepare(1 * MiB, 1)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await expect(prepare(2 * MiB, 2)).rejects.toMatchObject({ code: 'InvalidReplicaState' });
    await rm(replicaFile(folder, 'os'));
    await expect(prepare(1 * MiB, 2)).rejects.toMatchObject({ code: 'InvalidReplicaState' });
  });
});
