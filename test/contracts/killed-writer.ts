/** What a store has to hold of a process that writes to it and is killed, whenever that is. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Fence } from '../../domain/fence.js';
import type { DiskWrite } from '../../ports/replica-disks.js';
import { openReplicaStore } from '../../local/open-replica-store.js';
import { StoreProcess, buildStore } from '../sites/replica-store-process.js';
import type { StorePlace } from '../support/store-place.js';
import { content } from '../support/content.js';
import { readDisk } from '../support/replica-disks.js';

const DISK = { vm: 'db-01', disk: 'os' };
const at = (epoch: number, sequence: number): Fence => ({ epoch, sequence });

export function killedWriterContract(adapter: string, makePlace: () => Promise<StorePlace>): void {
  describe(`a writer to the ${adapter} store that is killed`, () => {
    let built: Awaited<ReturnType<typeof buildStore>>;
    beforeAll(async () => {
      built = await buildStore();
    });
    afterAll(async () => await built.remove());
    const SIZE = 300 * 4096 + 512;

    test('loses no acknowledged write and changes no snapshot, whenever it dies', { timeout: 240_000 }, async () => {
      const seed = Number(process.env['FARSHORE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
      const random = generator(seed);
      const pick = (count: number): number => Math.floor(random() * count);
      const place = await makePlace();
      const store = await openReplicaStore(place.address, { create: true });
      await store.disks.create(DISK, SIZE, at(1, 0));
      let live: Buffer = Buffer.alloc(SIZE);
      const snapshots = new Map<string, Buffer>();
      const cutShort: Record<string, number> = {};
      let writes = 0;
      for (let life = 0; life < 30; life += 1) {
        const writer = await StoreProcess.start(built.folder, place.address, place.environment);
        const death = sleep(pick(60)).then(async () => await writer.kill());
        for (let alive = true; alive;) {
          const dice = pick(10);
          const doomed = [...snapshots.keys()][pick(snapshots.size)];
          if (dice < 6 || (dice >= 8 && (snapshots.size < 4 || doomed === undefined))) {
            const batch = Array.from({ length: 1 + pick(6) }, () => randomWrite(pick, (writes += 1)));
            const next = Buffer.from(live);
            for (const write of batch) applyTo(next, write);
            alive = await survives(place, writer.call('writeDisk', DISK, batch, at(1, 0)));
            if (!alive) expectOldOrNew(await readDisk(store.disks, DISK, 0, SIZE), live, next, batch, seed);
            // What was not acknowledged may have landed in part: from here on what is there is what has to stay.
            live = alive ? next : await readDisk(store.disks, DISK, 0, SIZE);
            if (!alive) cutShort['write'] = (cutShort['write'] ?? 0) + 1;
          } else if (dice < 8) {
            let id: string | undefined;
            alive = await survives(
              place,
              writer.call('disks.snapshot', DISK, at(1, 0)).then((made) => (id = made)),
            );
            const made = id ?? (await store.disks.listSnapshots(DISK)).find((found) => !snapshots.has(found));
            if (made !== undefined) snapshots.set(made, Buffer.from(live));
            if (!alive) cutShort['snapshot'] = (cutShort['snapshot'] ?? 0) + 1;
          } else {
            const held = snapshots.get(doomed!);
            snapshots.delete(doomed!);
            alive = await survives(place, writer.call('disks.deleteSnapshot', DISK, doomed!, at(1, 0)));
            if (!alive && (await store.disks.listSnapshots(DISK)).includes(doomed!)) snapshots.set(doomed!, held!);
            if (!alive) cutShort['delete'] = (cutShort['delete'] ?? 0) + 1;
            if (!alive && pick(2) === 0) {
              await store.disks.deleteSnapshot(DISK, doomed!, at(1, 0));
              snapshots.delete(doomed!);
            }
          }
          // A reader beside the writer: snapshots hold still while blocks are on their way into the journals.
          if (pick(4) === 0 && snapshots.size > 0) {
            const [id, held] = [...snapshots][pick(snapshots.size)]!;
            expect((await readDisk(store.disks, DISK, 0, SIZE, id)).equals(held), `snapshot ${id}, seed ${seed}`).toBe(
              true,
            );
          }
        }
        await death;
        const reopened = await openReplicaStore(place.address);
        expect((await readDisk(reopened.disks, DISK, 0, SIZE)).equals(live), `live, life ${life}, seed ${seed}`).toBe(
          true,
        );
        expect(await reopened.disks.listSnapshots(DISK)).toEqual([...snapshots.keys()].toSorted());
        for (const [id, held] of snapshots) {
          const found = await readDisk(reopened.disks, DISK, 0, SIZE, id);
          expect(found.equals(held), `snapshot ${id}, life ${life}, seed ${seed}`).toBe(true);
        }
      }
      // A run in which the writer was never caught at work would prove nothing.
      expect(Object.values(cutShort).reduce((sum, count) => sum + count, 0)).toBe(30);
      expect(cutShort['write']).toBeGreaterThan(3);
    });
  });
}

async function survives(place: StorePlace, call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    // Anything but the death we caused is a failure of the store.
    if (/has died|channel closed|EPIPE|ERR_IPC/i.test(String(error))) {
      await place.settled();
      return false;
    }
    throw error;
  }
}

function randomWrite(pick: (count: number) => number, serial: number): DiskWrite {
  const page = pick(300 * 8);
  const pages = 1 + pick(Math.min(120, 300 * 8 - page));
  const offset = page * 512;
  return pick(5) === 0 ? { offset, clear: pages * 512 } : { offset, data: content(pages * 512, serial) };
}

function applyTo(target: Buffer, write: DiskWrite): void {
  if ('data' in write) write.data.copy(target, write.offset);
  else target.fill(0, write.offset, write.offset + write.clear);
}

/** Every page is what it was, or what one of the batch's writes made of it. */
function expectOldOrNew(found: Buffer, old: Buffer, next: Buffer, batch: readonly DiskWrite[], seed: number): void {
  for (let offset = 0; offset < found.length; offset += 512) {
    const page = (of: Buffer) => of.subarray(offset, offset + 512);
    if (page(found).equals(page(old)) || page(found).equals(page(next))) continue;
    const candidates = batch.map((write) => {
      const copy = Buffer.from(old);
      applyTo(copy, write);
      return page(copy);
    });
    expect(
      candidates.some((candidate) => candidate.equals(page(found))),
      `page at ${offset}, seed ${seed}`,
    ).toBe(true);
  }
}

/** The same numbers for the same seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
