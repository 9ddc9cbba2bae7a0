/** A store that works, and another one that is mounted in its place meanwhile. */
import { readdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { failsWith } from '../support/fails-with.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const fence = { scope: 'vms/db-01', epoch: 1, sequence: 0 };

test('a store that replaces the opened one is neither written nor read', async () => {
  const folder = path.join(await temporaryFolder(), 'store');
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  await store.objects.put('vms/db-01/x', Buffer.from('ours'), fence);
  await rename(folder, `${folder}.ours`);
  const other = await EmbeddedReplicaStore.open(folder, { create: true });
  expect(other.id).not.toBe(store.id);
  const before = (await readdir(folder, { recursive: true })).toSorted();

  const { detail } = await failsWith('StoreUnreachable', store.objects.put('vms/db-01/x', Buffer.from('new'), fence));
  expect(detail).toContain('another store is there now');
  await failsWith('StoreUnreachable', store.objects.get('vms/db-01/x'));
  await failsWith('StoreUnreachable', store.objects.raiseFence({ ...fence, epoch: 2 }));
  expect((await readdir(folder, { recursive: true })).toSorted()).toEqual(before);

  await other.close();
  await rename(folder, `${folder}.other`);
  await rename(`${folder}.ours`, folder);
  expect((await store.objects.get('vms/db-01/x'))?.toString()).toBe('ours');
  await store.close();
});
