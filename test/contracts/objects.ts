/**
 * What the objects of every replica store promise, whatever keeps them. Each adapter's tests call this with a way to make an
 * empty store and to open it any number of times, as several processes would.
 */
import { describe, expect, test } from 'vitest';
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Objects, WriteFence } from '../../ports/objects.js';
import { chunked, content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { besideFence, type StoreUnderTest } from './store-under-test.js';

const SCOPE = 'vms/db-01';
const at = (epoch: number, sequence: number, scope = SCOPE): WriteFence => ({ epoch, sequence, scope });
const NOW = at(1, 0);
const KiB = 1024;

export function objectsContract(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  const opened = async (): Promise<Objects> => (await (await makeStore()).open()).objects;

  describe(`${name}: objects`, () => {
    test('an object has the contents that were put last, complete, also for a process that opens the store later', async () => {
      const { open } = await makeStore();
      const store = await open();
      expect(await store.objects.get(`${SCOPE}/description.json`)).toBeUndefined();
      await store.objects.put(`${SCOPE}/description.json`, Buffer.from('first, and longer'), NOW);
      await store.objects.put(`${SCOPE}/description.json`, Buffer.from('second'), NOW);
      await store.objects.put(`${SCOPE}/empty`, Buffer.alloc(0), NOW);
      await store.close();
      const again = await open();
      expect((await again.objects.get(`${SCOPE}/description.json`))?.toString()).toBe('second');
      expect(await again.objects.get(`${SCOPE}/empty`)).toEqual(Buffer.alloc(0));
    });

    test('if several put an object only if it is absent, exactly one succeeds', async () => {
      const { open } = await makeStore();
      const all = (await Promise.all([open(), open(), open()])).map(({ objects }) => objects);
      for (let round = 0; round < 5; round += 1) {
        const object = `${SCOPE}/points/${round}.json`;
        const tries = [0, 1, 2, 3, 4, 5];
        const won = await Promise.all(tries.map((t) => all[t % 3]!.putIfAbsent(object, Buffer.from(`by ${t}`), NOW)));
        expect(won.filter(Boolean)).toHaveLength(1);
        expect((await all[0]!.get(object))?.toString()).toBe(`by ${won.indexOf(true)}`);
        expect(await all[1]!.putIfAbsent(object, Buffer.from('late'), NOW)).toBe(false);
        expect((await all[2]!.get(object))?.toString()).toBe(`by ${won.indexOf(true)}`);
      }
    });

    test('an upload becomes visible when it is complete, and a part of it can be read', async () => {
      const objects = await opened();
      const object = `${SCOPE}/cycles/0001-00000001/os.changes`;
      const data = content(300 * KiB + 77, 1);
      await objects.upload(object, chunked(content(1000, 9), 100), NOW);
      let seenMeanwhile: Buffer | undefined;
      async function* watched(): AsyncGenerator<Buffer> {
        yield data.subarray(0, 200 * KiB);
        seenMeanwhile = await objects.get(object);
        yield data.subarray(200 * KiB);
      }
      await objects.upload(object, watched(), NOW);
      expect(seenMeanwhile).toEqual(content(1000, 9));
      expect(await objects.get(object)).toEqual(data);
      expect(await objects.read(object, 123_456, 4321)).toEqual(data.subarray(123_456, 123_456 + 4321));
      for (const options of [undefined, { isReadBack: true }]) {
        const target = Buffer.alloc(4321);
        await objects.readInto(object, 123_456, target, options);
        expect(target).toEqual(data.subarray(123_456, 123_456 + 4321));
      }
      await failsWith('InvalidReplicaState', objects.read(object, data.length - 10, 11));
      await failsWith('InvalidReplicaState', objects.read(`${SCOPE}/missing`, 0, 1));
    });

    test('an upload whose source fails leaves the old object', async () => {
      const objects = await opened();
      const object = `${SCOPE}/applied.json`;
      async function* failing(): AsyncGenerator<Buffer> {
        yield content(64 * KiB, 3);
        throw new CatalogueError('ReadFailed', 'the source');
      }
      await failsWith('ReadFailed', objects.upload(object, failing(), NOW));
      expect(await objects.get(object)).toBeUndefined();
      await objects.put(object, Buffer.from('kept'), NOW);
      await failsWith('ReadFailed', objects.upload(object, failing(), NOW));
      expect((await objects.get(object))?.toString()).toBe('kept');
      expect(await objects.list('')).toEqual([object]);
    });

    test('listing gives the objects below a prefix, sorted', async () => {
      const objects = await opened();
      const names = ['a/1.json', 'a/2/x.json', 'a/10.json', 'b-1.json', 'b/0.json'].map((rest) => `${SCOPE}/${rest}`);
      for (const object of names.toReversed()) await objects.put(object, Buffer.from('x'), NOW);
      await objects.put('jobs/job-1.json', Buffer.from('x'), at(0, 0, 'jobs'));
      await objects.raiseFence(at(1, 1));
      expect(await objects.list('')).toEqual(['jobs/job-1.json', ...names.toSorted()]);
      expect(await objects.list(`${SCOPE}/`)).toEqual(names.toSorted());
      expect(await objects.list(`${SCOPE}/a/`)).toEqual(names.slice(0, 3).toSorted());
      expect(await objects.list(`${SCOPE}/b`)).toEqual([`${SCOPE}/b-1.json`, `${SCOPE}/b/0.json`]);
      expect(await objects.list(`${SCOPE}/nothing/`)).toEqual([]);
    });

    test('sizes are listed with the names, and times are those of the writes', async () => {
      const objects = await opened();
      await objects.put(`${SCOPE}/a/1.json`, Buffer.from('12345'), NOW);
      await objects.put(`${SCOPE}/b.json`, Buffer.alloc(0), NOW);
      await objects.put(`${SCOPE}/a/1.json`, Buffer.from('123'), NOW);
      const listed = await objects.listSizes(`${SCOPE}/`);
      expect(listed.map(({ name, bytes }) => [name, bytes])).toEqual([
        [`${SCOPE}/a/1.json`, 3],
        [`${SCOPE}/b.json`, 0],
      ]);
      for (const { writtenAt } of listed) {
        if (writtenAt !== undefined) expect(Math.abs(Date.parse(writtenAt) - Date.now())).toBeLessThan(600_000);
      }
      expect(await objects.listSizes(`${SCOPE}/nothing/`)).toEqual([]);
    });

    test('deleting an object can be repeated, and its name used again', async () => {
      const objects = await opened();
      const object = `${SCOPE}/cycles/0001-00000001/manifest.json`;
      await objects.delete(object, NOW);
      await objects.put(object, Buffer.from('1'), NOW);
      await objects.delete(object, NOW);
      await objects.delete(object, NOW);
      expect(await objects.get(object)).toBeUndefined();
      expect(await objects.list('')).toEqual([]);
      expect(await objects.putIfAbsent(object, Buffer.from('2'), NOW)).toBe(true);
    });

    test.each([
      '',
      '.',
      '..',
      '../outside',
      'vms/db-01/../../outside',
      'vms/db-01/..',
      '/etc/passwd',
      'vms//db-01',
      'vms/db-01/',
      'vms/db-01/./x',
      'vms/db-01/a\0b',
      'vms\\db-01\\x',
      'vms/db-01/.fence',
    ])('the name %j is refused everywhere', async (bad) => {
      const objects = await opened();
      await failsWith('InvalidReplicaState', objects.put(bad, Buffer.from('x'), NOW));
      await failsWith('InvalidReplicaState', objects.putIfAbsent(bad, Buffer.from('x'), NOW));
      await failsWith('InvalidReplicaState', objects.upload(bad, chunked(Buffer.from('x'), 1), NOW));
      await failsWith('InvalidReplicaState', objects.get(bad));
      await failsWith('InvalidReplicaState', objects.read(bad, 0, 1));
      await failsWith('InvalidReplicaState', objects.delete(bad, NOW));
      await failsWith('InvalidReplicaState', objects.raiseFence(at(1, 0, bad === 'vms/db-01/' ? '..' : bad)));
    });

    test('a prefix does not lead out of the store either', async () => {
      const objects = await opened();
      await failsWith('InvalidReplicaState', objects.list('../'));
      await failsWith('InvalidReplicaState', objects.list('vms/../../'));
    });

    test('a write outside the scope of its fence is refused', async () => {
      const objects = await opened();
      await expect(objects.put('vms/db-011/x', Buffer.from('x'), NOW)).rejects.toThrow('vms/db-01');
      await expect(objects.delete('vms/db-01', NOW)).rejects.toThrow('vms/db-01');
      expect(await objects.list('')).toEqual([]);
    });
  });

  describe(`${name}: fences of objects`, () => {
    test('a fence rises, never falls, and is seen by all', async () => {
      const { open } = await makeStore();
      const [{ objects: a }, { objects: b }] = [await open(), await open()];
      const fence = async (): Promise<Fence> => await b.readFence(SCOPE);
      expect(await fence()).toEqual({ epoch: 0, sequence: 0 });
      await a.raiseFence(at(2, 5));
      expect(await fence()).toEqual({ epoch: 2, sequence: 5 });
      // Asked after each: a later one would cover up what an earlier one has lowered.
      for (const notNewer of [at(2, 4), at(1, 9), at(2, 5)]) {
        await a.raiseFence(notNewer);
        expect(await fence()).toEqual({ epoch: 2, sequence: 5 });
      }
      await a.raiseFence(at(3, 0));
      expect(await fence()).toEqual({ epoch: 3, sequence: 0 });
      expect(await b.readFence('vms/db-02')).toEqual({ epoch: 0, sequence: 0 });
      await Promise.all([7, 4, 9, 5].map((epoch) => b.raiseFence(at(epoch, 1))));
      expect(await fence()).toEqual({ epoch: 9, sequence: 1 });
    });

    test.each(besideFence(at))('every write with %s is refused or accepted alike', async (_, fence, accepted) => {
      const { open } = await makeStore();
      const { objects } = await open();
      const object = `${SCOPE}/applied.json`;
      await objects.put(object, Buffer.from('before'), at(2, 0));
      await (await open()).objects.raiseFence(at(2, 5));
      const writes: (() => Promise<unknown>)[] = [
        () => objects.put(object, Buffer.from('after'), fence),
        () => objects.putIfAbsent(`${SCOPE}/new.json`, Buffer.from('after'), fence),
        () => objects.upload(`${SCOPE}/uploaded`, chunked(content(1000, 1), 300), fence),
        () => objects.delete(object, fence),
      ];
      for (const write of writes) {
        if (accepted) await write();
        else {
          const error = await failsWith('StaleEpoch', write());
          expect(error.detail).toContain('epoch 2, sequence 5');
          expect(error.detail).toContain(`epoch ${fence.epoch}, sequence ${fence.sequence}`);
        }
      }
      // Carrying a newer fence does not raise it.
      expect(await objects.readFence(SCOPE)).toEqual({ epoch: 2, sequence: 5 });
      if (accepted) return;
      expect((await objects.get(object))?.toString()).toBe('before');
      expect(await objects.list('')).toEqual([object]);
      await objects.put('vms/db-02/applied.json', Buffer.from('other VM'), at(1, 0, 'vms/db-02'));
    });

    test('an upload that is running when the fence rises is refused, and nothing of it becomes visible', async () => {
      const { open } = await makeStore();
      const [{ objects: late }, { objects: other }] = [await open(), await open()];
      async function* overtaken(): AsyncGenerator<Buffer> {
        yield content(64 * KiB, 1);
        await other.raiseFence(at(2, 0));
        yield content(64 * KiB, 2);
      }
      await failsWith('StaleEpoch', late.upload(`${SCOPE}/os.changes`, overtaken(), at(1, 7)));
      expect(await late.list('')).toEqual([]);
    });
  });
}
