/**
 * A process that is stopped in the middle of a write, whichever call it is about to make: a fence is raised all the same,
 * and nothing it does once it goes on again changes what others have found since.
 */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { WriteFence } from '../../ports/objects.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { StoreProcess, buildStore } from './replica-store-process.js';
import { readPages } from '../support/read-pages.js';

const SIZE = 16 * 4096;
const CHANGES = ['link', 'mkdir', 'rename', 'rm', 'rmdir', 'unlink', 'write', 'truncate', 'datasync'];

let built: Awaited<ReturnType<typeof buildStore>>;
beforeAll(async () => {
  built = await buildStore();
});
afterAll(async () => await built.remove());

/** A VM of its own for each attempt. */
class Replica {
  readonly scope: string;
  readonly object: string;
  readonly blob: string;
  readonly otherBlob: string;
  readonly snapshots: string[] = [];

  constructor(
    readonly store: EmbeddedReplicaStore,
    number: number,
  ) {
    this.scope = `vms/vm-${number}`;
    this.object = `${this.scope}/applied.json`;
    this.blob = `${this.scope}/disks/os.vhd`;
    this.otherBlob = `${this.scope}/disks/data.vhd`;
  }

  at = (epoch: number): WriteFence => ({ epoch, sequence: 0, scope: this.scope });

  async fill(): Promise<void> {
    await this.store.objects.put(this.object, Buffer.from('before'), this.at(1));
    await this.store.pageBlobs.create(this.blob, SIZE, this.at(1));
    for (let seed = 1; seed <= 3; seed += 1) {
      const write = { offset: seed * 4096, data: content(SIZE / 2, seed) };
      await this.store.pageBlobs.write(this.blob, [write], this.at(1));
      this.snapshots.push(await this.store.pageBlobs.snapshot(this.blob, this.at(1)));
    }
    await this.store.pageBlobs.write(this.blob, [{ offset: 0, data: content(4096, 5) }], this.at(1));
  }

  /** Everything that somebody who fails over to this store may find: the fence, all objects, and every snapshot. */
  async state(): Promise<Record<string, string>> {
    const { store, scope } = this;
    const state: Record<string, string> = { fence: JSON.stringify(await store.objects.readFence(scope)) };
    for (const name of await store.objects.list(`${scope}/`)) {
      state[name] = (await store.objects.get(name))!.toString('base64');
    }
    for (const blob of [this.blob, this.otherBlob]) {
      const size = await store.pageBlobs.size(blob);
      state[`${blob} size`] = String(size);
      if (size === undefined) continue;
      for (const id of await store.pageBlobs.listSnapshots(blob)) {
        state[`${blob} ${id}`] = (await readPages(store.pageBlobs, blob, 0, SIZE, id)).toString('base64');
      }
    }
    return state;
  }

  /** @returns false when it is told that a process has the blob's files open, and may still write to them. */
  async write(seed: number): Promise<boolean> {
    try {
      await this.store.pageBlobs.create(this.blob, SIZE, this.at(2));
      await this.store.pageBlobs.write(this.blob, [{ offset: 0, data: content(SIZE, seed) }], this.at(2));
      return true;
    } catch (error) {
      if ((error as { code?: string }).code === 'StoreBusy') return false;
      throw error;
    }
  }
}

const operations: Record<string, (other: StoreProcess, replica: Replica) => Promise<unknown>> = {
  'replaces an object': (other, { object, at }) => other.call('objects.put', object, Buffer.from('late'), at(1)),
  'puts an object': (other, { scope, at }) =>
    other.call('objects.putIfAbsent', `${scope}/points/1.json`, Buffer.from('late'), at(1)),
  'deletes an object': (other, { object, at }) => other.call('objects.delete', object, at(1)),
  'raises a fence': (other, { at }) => other.call('objects.raiseFence', { ...at(1), sequence: 7 }),
  'creates a page blob': (other, { otherBlob, at }) => other.call('pageBlobs.create', otherBlob, SIZE, at(1)),
  'deletes a page blob': (other, { blob, at }) => other.call('pageBlobs.delete', blob, at(1)),
  'writes pages': (other, { blob, at }) =>
    other.call('pageBlobs.write', blob, [{ offset: 0, data: content(SIZE, 9) }], at(1)),
  'takes a snapshot': (other, { blob, at }) => other.call('pageBlobs.snapshot', blob, at(1)),
  'deletes a snapshot': (other, { blob, snapshots, at }) =>
    other.call('pageBlobs.deleteSnapshot', blob, snapshots[1]!, at(1)),
};

describe('a process that is stopped', () => {
  test.each(Object.keys(operations))('while it %s is shut out, wherever it was', async (name) => {
    const folder = path.join(await temporaryFolder(), 'store');
    const store = await EmbeddedReplicaStore.open(folder, { create: true, patience: { write: 5000, raise: 20 } });
    const other = await StoreProcess.start(built.folder, { kind: 'embedded', path: folder });
    let stops = 0;
    for (; ; stops += 1) {
      const replica = new Replica(store, stops);
      await replica.fill();
      await other.call('stopBefore', CHANGES, stops + 1);
      const late = operations[name]!(other, replica);
      if (!(await other.stops(late))) break;
      await store.objects.raiseFence(replica.at(2));
      await store.objects.put(`${replica.scope}/failed-over.json`, Buffer.from('epoch 2'), replica.at(2));
      const written = await replica.write(6);
      const found = await replica.state();

      other.continue();
      await late.catch(() => undefined);
      const where = `stopped before call ${stops + 1}`;
      expect(await replica.state(), where).toEqual(found);
      if (written)
        expect((await readPages(store.pageBlobs, replica.blob, 0, SIZE)).equals(content(SIZE, 6)), where).toBe(true);

      // Now that it has let go everything can be written, stays what it is, and it may join in.
      expect(await replica.write(7), where).toBe(true);
      const taken = await store.pageBlobs.snapshot(replica.blob, replica.at(2));
      await failsWith('StaleEpoch', other.call('objects.put', replica.object, Buffer.from('later'), replica.at(1)));
      await failsWith('StaleEpoch', other.call('pageBlobs.deleteSnapshot', replica.blob, taken, replica.at(1)));
      await other.call('objects.put', replica.object, Buffer.from('joins in'), replica.at(2));
      expect((await readPages(store.pageBlobs, replica.blob, 0, SIZE, taken)).equals(content(SIZE, 7)), where).toBe(
        true,
      );
    }
    expect(stops).toBeGreaterThan(2);
  });
});
