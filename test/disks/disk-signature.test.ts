import { open, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { openDisk } from '../../disks/open-disk.js';
import { runReader, requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const SIZE = 8 * 1024 * 1024;

test.for<[name: string, format: string, options: string[]]>([
  ['VHDX', 'vhdx', []],
  ['VHD', 'vpc', ['-o', 'subformat=dynamic']],
  ['VHD', 'vpc', ['-o', 'subformat=fixed']],
  ['qcow2', 'qcow2', []],
  ['VMDK', 'vmdk', []],
  ['VMDK', 'vmdk', ['-o', 'subformat=monolithicFlat']],
  ['VDI', 'vdi', []],
])(
  'a %s that qemu-img made as %s %s is no raw disk until somebody says so',
  async ([name, format, options], context) => {
    requireReader('qemu-img', context);
    const file = path.join(await temporaryFolder(), 'disk');
    await runReader('qemu-img', 'create', '-q', '-f', format, ...options, file, `${SIZE}`);
    const { size } = await stat(file);
    // Of a size that a raw disk may have; a fixed VHD's footer has to stay at the end.
    if (size % 512 !== 0) await truncate(file, Math.ceil(size / 512) * 512);
    await expect(openDisk(file, undefined)).rejects.toMatchObject({
      code: 'ForeignDiskFormat',
      detail: expect.stringContaining(name) as string,
    });
    await (await openDisk(file, 'raw')).close();
  },
);

test("a file without any format's signature is a raw disk, and a VHD is opened as a VHD", async () => {
  const folder = await temporaryFolder();
  const file = path.join(folder, 'os.img');
  await writeFile(file, Buffer.alloc(4096));
  const disk = await openDisk(file, undefined);
  expect(disk.size).toBe(4096);
  await disk.close();
  // A signature elsewhere is content.
  const content = await open(file, 'r+');
  await content.write(Buffer.from('vhdxfile'), 0, 8, 512);
  await content.write(Buffer.from('conectix'), 0, 8, 2048);
  await content.close();
  await (await openDisk(file, undefined)).close();
});
