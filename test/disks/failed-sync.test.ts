/** A sync that failed is not made good by a second one: what it was to store has to be written again. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OverlayDisk } from '../../disks/overlay.js';
import { RawDisk } from '../../disks/raw.js';
import { failingSync } from '../support/failing-sync.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const BLOCK = 4096;
const SIZE = 16 * BLOCK;
const written = Buffer.alloc(BLOCK, 7);

async function contentAt(disk: OverlayDisk, offset: number): Promise<Buffer> {
  const content = Buffer.alloc(BLOCK);
  await disk.read(content, offset);
  return content;
}

async function newOverlay() {
  const folder = await temporaryFolder();
  const path = join(folder, 'overlay');
  await writeFile(join(folder, 'base'), Buffer.alloc(SIZE, 1));
  const base = await RawDisk.open(join(folder, 'base'), { readOnly: true });
  const disk = await OverlayDisk.create(path, base, { blockSize: BLOCK });
  return { path, base, disk, syncs: await failingSync(`${path}.bitmap`) };
}

test('after a flush of an overlay has failed, a second flush is not acknowledged', async () => {
  const { disk, base, syncs } = await newOverlay();
  await disk.write(written, BLOCK);
  syncs.fail = true;
  await expect(disk.flush()).rejects.toThrow('EIO');
  syncs.fail = false;
  await expect(disk.flush()).rejects.toThrow('EIO');
  await disk.close();
  await base.close();
});

test('if one of several parallel flushes fails, none is acknowledged', async () => {
  const path = join(await temporaryFolder(), 'disk');
  await writeFile(path, Buffer.alloc(SIZE, 1));
  const disk = await RawDisk.open(path);
  const syncs = await failingSync(path);
  await disk.write(written, BLOCK);
  // As on a real system: whoever is first is told.
  syncs.fail = 'once';
  const results = await Promise.allSettled([disk.flush(), disk.flush(), disk.flush()]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  await disk.close();
});

test('an overlay that is opened again first stores what could not be stored before, then acknowledges a flush', async () => {
  const { path, disk, base, syncs } = await newOverlay();
  await disk.write(written, BLOCK);
  syncs.fail = true;
  await expect(disk.flush()).rejects.toThrow('EIO');
  syncs.fail = false;
  await disk.close();

  const again = await OverlayDisk.open(path, base);
  expect(await contentAt(again, BLOCK)).toEqual(written);
  await again.flush();
  await again.close();
  await syncs.loseMachine();
  const afterwards = await OverlayDisk.open(path, base);
  expect(await contentAt(afterwards, BLOCK)).toEqual(written);
  await afterwards.close();
  await base.close();
});
