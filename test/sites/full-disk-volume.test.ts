/** The volume of a disk is full, the one its change log lies on is not: the write fails, and the log says one write too many. */
import { mkdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { leave, resize, smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;

test('a write that reaches the log but not the disk is reported to the guest, and marks the VM permanently', async (context) => {
  const folder = await temporaryFolder();
  const volume = await smallFileSystem(path.join(folder, 'volume'), 64, context);
  const image = path.join(volume, 'os.img');
  await writeFile(image, '');
  await truncate(image, 48 * MiB);
  const beside = path.join(folder, 'beside');
  await mkdir(beside);
  await symlink(image, path.join(beside, 'os.img'));
  const hv = await HypervisorProcess.configure(folder, 'hv', {
    vms: [{ name: 'vm', disks: [{ name: 'os', path: path.join(beside, 'os.img') }] }],
  });
  await hv.start();
  try {
    const hypervisor = new HypervisorClient(hv.controlSocket);
    await hypervisor.beginReplication('vm', 1);
    while ((await hypervisor.mergeSnapshot('vm')) > 0);
    const connect = async () => NbdGuest.connect((await hypervisor.describeVm('vm')).disks[0]!.nbdUri!);
    let guest = await connect();
    const first = randomBytes(2 * MiB);
    await guest.write(first, 0);
    await guest.flush();
    expect((await hypervisor.describeVm('vm')).tracking?.resyncCause).toBeUndefined();

    await leave(volume, 0);
    await expect(guest.write(randomBytes(MiB), 8 * MiB)).rejects.toMatchObject({
      code: expect.stringMatching(/ENOSPC|EIO/),
    });
    const cause = (await hypervisor.describeVm('vm')).tracking!.resyncCause!;
    expect(cause).toMatch(/ENOSPC|no space/i);
    // What needs no new room goes on.
    const second = randomBytes(MiB);
    await guest.write(second, 0);
    await hv.kill();
    await hv.start();
    expect((await hypervisor.describeVm('vm')).tracking!.resyncCause).toBe(cause);
    await resize(volume, 64);
    guest = await connect();
    const third = randomBytes(MiB);
    await guest.write(third, 8 * MiB);
    await guest.close();
    await hv.kill('SIGTERM');
    const disk = await readFile(image);
    expect(disk.subarray(0, 2 * MiB).equals(Buffer.concat([second, first.subarray(MiB)]))).toBe(true);
    expect(disk.subarray(8 * MiB, 9 * MiB).equals(third)).toBe(true);
  } finally {
    await hv.kill();
  }
});
