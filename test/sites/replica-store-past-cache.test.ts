/** What is read back to prove that it has arrived comes from the disk: what the system remembers of a file is no proof. */
import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { WriteFence } from '../../ports/objects.js';
import { content } from '../support/content.js';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const run = promisify(execFile);
const MiB = 1024 * 1024;
const SCOPE = 'vms/db-01';
const NOW: WriteFence = { epoch: 1, sequence: 0, scope: SCOPE };
const OBJECT = `${SCOPE}/os.changes`;
const BLOB = `${SCOPE}/disks/os.vhd`;
/** They end within a block, as a disk or a change file may. */
const bytes = content(MiB + 3 * 512, 1);

/** Bytes of a file that the system remembers. */
const remembered = async (file: string): Promise<number> =>
  Number((await run('fincore', ['--bytes', '--noheadings', '--output', 'RES', file])).stdout);

/** Has the system forget it. @returns false where the file system keeps it nowhere else. */
async function forgotten(file: string): Promise<boolean> {
  const handle = await open(file, 'r+');
  await handle.sync();
  await handle.close();
  await run('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
  return (await remembered(file)) === 0;
}

test.for<[what: string, name: string, read: (store: EmbeddedReplicaStore, target: Buffer, back: boolean) => unknown]>([
  ['an object', OBJECT, ({ objects }, target, isReadBack) => objects.readInto(OBJECT, 0, target, { isReadBack })],
  ['a page blob', BLOB, ({ pageBlobs }, target, isReadBack) => pageBlobs.readInto(BLOB, 0, target, { isReadBack })],
])('%s is read back past the page cache', async ([, name, read], context) => {
  requireReader('fincore', context);
  const folder = path.join(await temporaryFolder(), 'store');
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  await store.objects.put(OBJECT, bytes, NOW);
  await store.pageBlobs.create(BLOB, bytes.length, NOW);
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: bytes }], NOW);
  const file = path.join(folder, ...name.split('/'));
  if (!(await forgotten(file))) return context.skip('the file system is in memory');
  for (const isReadBack of [true, false]) {
    const target = Buffer.alloc(bytes.length);
    await read(store, target, isReadBack);
    expect(target.equals(bytes)).toBe(true);
    // By an ordinary read it is remembered, and so would be told again.
    expect((await remembered(file)) > 0).toBe(!isReadBack);
  }
  await store.close();
});
