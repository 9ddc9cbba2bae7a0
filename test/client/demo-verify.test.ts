import { randomBytes } from 'node:crypto';
import { open, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { proveDisk } from '../../client/demo/verify.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;

test("one changed byte of a replica makes the demo's check fail", async (context) => {
  requireReader('qemu-img', context);
  const folder = await temporaryFolder();
  const file = path.join(folder, 'os.img');
  await writeFile(file, randomBytes(8 * MiB));
  await truncate(file, 64 * MiB);
  const replica = path.join(folder, 'os.vhd');
  await runReader('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=fixed,force_size', file, replica);
  const disk = { vm: 'db-01', name: 'os', file, size: 64 * MiB, contentBytes: 0, folders: [], fileSystem: false };
  const outcomes = async () => {
    const { checks } = await proveDisk(disk, replica, { kind: 'blocks', newest: 0 });
    return Object.fromEntries(checks.map(({ name, outcome }) => [name, outcome]));
  };
  expect(await outcomes()).toMatchObject({ 'sha256 of both files': 'passed', 'qemu-img compare': 'passed' });

  const handle = await open(replica, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, 5 * MiB + 17);
  await handle.write(Buffer.from([byte[0]! ^ 1]), 0, 1, 5 * MiB + 17);
  await handle.close();
  expect(await outcomes()).toMatchObject({ 'sha256 of both files': 'failed', 'qemu-img compare': 'failed' });
});
