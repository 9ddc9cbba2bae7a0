/** A limited store sends what it is given, all of it, at the pace it is given; everything else it passes on. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { expect, test } from 'vitest';
import { BandwidthLimiter } from '../../sites/bandwidth-limiter.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { LimitedStore } from '../../sites/limited-store.js';
import type { DiskWrite, ReplicaDisk, ReplicaDisks } from '../../ports/replica-disks.js';
import type { Objects } from '../../ports/objects.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { watchedStore } from '../support/watched-store.js';
import { FakeClock } from './fake-clock.js';
import { readDisk, writeDisk } from '../support/replica-disks.js';

const RATE = 100_000;
const rule = { rateAt: () => RATE, lowest: RATE };

/** Time passes as soon as somebody waits. */
class HurriedClock extends FakeClock {
  override sleep = async (ms: number): Promise<void> => this.advance(ms);
}

const fence = { scope: 'vms/db-01', epoch: 1, sequence: 0 };
const DISK = { vm: 'db-01', disk: 'os' };

/** A store that notes how much reaches it, and when. */
async function notingStore(clock: FakeClock) {
  const inner = await EmbeddedReplicaStore.open(path.join(await temporaryFolder(), 'store'), { create: true });
  const arrived: { at: number; bytes: number }[] = [];
  const note = (bytes: number) => arrived.push({ at: clock.now(), bytes });
  const noting = watchedStore(inner, async (operation, args, call) => {
    if (operation === 'disk.write') {
      const writes = args[0] as readonly DiskWrite[];
      note(writes.reduce((sum, write) => sum + ('data' in write ? write.data.length : 0), 0));
    }
    return await call();
  });
  return { inner, noting, arrived };
}

test('pages of all lengths arrive complete, in pieces that the bandwidth allows; clearing uses no bandwidth', async () => {
  const clock = new HurriedClock();
  const { inner, noting, arrived } = await notingStore(clock);
  const limiter = new BandwidthLimiter(rule, clock);
  const store = new LimitedStore(noting, limiter);
  const size = 8 * 2 ** 20;
  await inner.disks.create(DISK, size, fence);
  await writeDisk(inner.disks, DISK, [{ offset: 0, data: Buffer.alloc(size, 0xee) }], fence);
  const expected = Buffer.alloc(size, 0xee);
  const writes: DiskWrite[] = [];
  for (const [index, sectors] of [1, 700, 3, 1, 1900, 8, 2].entries()) {
    const data = Buffer.alloc(sectors * 512, index + 1);
    const offset = index * 2 ** 20;
    writes.push({ offset, data }, { offset: offset + data.length, clear: 512 });
    data.copy(expected, offset);
    expected.fill(0, offset + data.length, offset + data.length + 512);
  }
  await writeDisk(store.disks, DISK, writes, fence);
  expect((await readDisk(inner.disks, DISK, 0, size)).equals(expected)).toBe(true);
  const total = arrived.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(total).toBe(2615 * 512);
  expect(Math.max(...arrived.map(({ bytes }) => bytes))).toBeLessThanOrEqual(limiter.burst);
  const seconds = (arrived.at(-1)!.at - arrived[0]!.at) / 1000;
  expect(seconds).toBeGreaterThanOrEqual((total - limiter.burst) / RATE);

  const before = clock.now();
  await writeDisk(store.disks, DISK, [{ offset: 0, clear: size }], fence);
  expect(clock.now()).toBe(before);
  expect(await (await inner.disks.openReadOnly(DISK)).dataRanges({ offset: 0, length: size })).toEqual([]);
});

test('a cancelled sender stops waiting, and later senders are not affected', async () => {
  const clock = new FakeClock();
  const { inner, noting, arrived } = await notingStore(clock);
  await inner.disks.create(DISK, 2 ** 20, fence);
  const limiter = new BandwidthLimiter(rule, clock);
  const controller = new AbortController();
  const store = new LimitedStore(noting, limiter, { signal: controller.signal });
  const writing = writeDisk(store.disks, DISK, [{ offset: 0, data: Buffer.alloc(2 ** 20, 7) }], fence);
  const cancelled = expect(writing).rejects.toThrow('no longer wanted');
  while (arrived.length === 0) await new Promise((resolve) => setImmediate(resolve));
  controller.abort(new Error('no longer wanted'));
  await cancelled;
  expect(arrived).toHaveLength(1);
  const whole = Buffer.alloc(2 ** 20, 8);
  await clock.drive(writeDisk(new LimitedStore(noting, limiter).disks, DISK, [{ offset: 0, data: whole }], fence));
  expect((await readDisk(inner.disks, DISK, 0, 2 ** 20)).equals(whole)).toBe(true);
});

test('an upload arrives complete, an object in one piece', async () => {
  const clock = new HurriedClock();
  const { inner } = await notingStore(clock);
  const store = new LimitedStore(inner, new BandwidthLimiter(rule, clock));
  const data = randomBytes(700_001);
  await store.objects.upload('vms/db-01/upload', chunksOf(data, 300_000), fence);
  expect((await inner.objects.get('vms/db-01/upload'))?.equals(data)).toBe(true);
  const began = clock.now();
  await store.objects.put('vms/db-01/object', data, fence);
  expect((await inner.objects.get('vms/db-01/object'))?.equals(data)).toBe(true);
  expect(await store.objects.putIfAbsent('vms/db-01/object', Buffer.alloc(10), fence)).toBe(false);
  expect(clock.now() - began).toBeGreaterThanOrEqual(7_000);
});

async function* chunksOf(data: Buffer, size: number) {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

test('calls that send no content are passed on unchanged, as are their answers', async () => {
  const calls: unknown[][] = [];
  const answering = <T extends object>() =>
    new Proxy({} as T, {
      get: (_, name: string) => {
        // It is no promise.
        if (name === 'then') return undefined;
        return async (...args: unknown[]): Promise<unknown> => {
          calls.push([name, ...args]);
          return `answer of ${name}`;
        };
      },
    });
  const limiter = new BandwidthLimiter(rule, new FakeClock());
  const store = new LimitedStore(
    { objects: answering<Objects>(), disks: answering<ReplicaDisks>(), close: () => Promise.resolve() },
    limiter,
  );
  const objects: (keyof Objects)[] = ['get', 'read', 'readInto', 'list', 'delete', 'raiseFence', 'readFence'];
  const disks: (keyof ReplicaDisks)[] = [
    ...(['create', 'resize', 'size', 'delete', 'mend', 'openReadOnly'] as const),
    ...(['snapshot', 'listSnapshots', 'deleteSnapshot'] as const),
  ];
  const expectPassedOn = async (part: object, names: readonly string[]): Promise<void> => {
    for (const name of names) {
      const call = (part as Record<string, (...args: unknown[]) => Promise<unknown>>)[name]!;
      const args = Array.from({ length: call.length }, (_, index) => `${name} ${index}`);
      expect(await call(...args)).toBe(`answer of ${name}`);
      expect(calls.at(-1)).toEqual([name, ...args]);
    }
  };
  await expectPassedOn(store.objects, objects);
  await expectPassedOn(store.disks, disks);
  const opening = { ...answering<ReplicaDisks>(), open: async () => answering<ReplicaDisk>() };
  const limited = new LimitedStore({ objects: store.objects, disks: opening, close: () => store.close() }, limiter);
  await expectPassedOn(await limited.disks.open(DISK, fence), ['read', 'readUncached', 'dataRanges', 'close']);
});
