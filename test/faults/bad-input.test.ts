/**
 * What replication needs is taken away while it runs: the disk's file, the store, the space on either volume. Each
 * shows as what it is, with what to do; put back and retried, the replica is equal.
 */
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { requireReader } from '../support/readers.js';
import { leave, resize, smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;

test('a disk file that vanishes, and a store that cannot be reached', { timeout: 180_000 }, async (context) => {
  requireReader('qemu-img', context);
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'source'));
  const site = await SmallSite.start(folder, 'source');
  const away = `${site.disk}.away`;
  try {
    // The hypervisor has it open, and the guest goes on; the initial copy reads the file itself.
    await rename(site.disk, away);
    await site.farshore.protect(VM);
    await site.untilFailing('DiskMissing', 'Critical', /Put the disk file back where it was/);
    await rename(away, site.disk);
    await site.retryUntil(({ item }) => item.phase === 'Protected' && item.job === undefined);
    // The first cycle follows by itself.
    await site.until(({ item }) => (item.applied?.sequence ?? 0) >= 2);

    const store = path.join(folder, 'store');
    await site.write(2 * MiB, 5 * MiB);
    await rename(store, `${store}.away`);
    const sequence = await site.sync();
    await site.untilFailing('StoreUnreachable', 'Warning', /for a folder, check that it is mounted/);
    await rename(`${store}.away`, store);
    await site.retryUntil(({ item }) => (item.applied?.sequence ?? 0) >= sequence);
    await site.expectEqual();

    // A hypervisor that is started without the file has a VM that it can't run, until the file is back.
    await site.write(MiB, 20 * MiB);
    await rename(site.disk, away);
    process.kill(site.running.processId('hypervisor-hyperv-01')!, 'SIGKILL');
    while ((await site.hypervisor.describeVm(VM).catch(() => undefined))?.failure?.code !== 'DiskMissing') {
      await sleep(50);
    }
    const last = await site.sync();
    await site.untilFailing('DiskMissing', 'Critical', /Put the disk file back where it was/);
    await rename(away, site.disk);
    await site.retryUntil(({ item }) => (item.applied?.sequence ?? 0) >= last);
    await site.expectEqual();
    expect(await site.hypervisor.describeVm(VM)).toMatchObject({ state: 'Running' });
    await site.write(MiB, 22 * MiB);
    const after = await site.sync();
    await site.until(({ item }) => (item.applied?.sequence ?? 0) >= after);
    await site.expectEqual();
  } finally {
    await site.stop();
  }
});

test("no space on the disks' volume, and none in the store", { timeout: 180_000 }, async (context) => {
  requireReader('qemu-img', context);
  const folder = await temporaryFolder();
  const source = await smallFileSystem(path.join(folder, 'source'), 64, context);
  const store = await smallFileSystem(path.join(folder, 'store'), 256, context);
  const site = await SmallSite.start(folder, 'source');
  try {
    // Less than a hypervisor wants free where change logs are to grow.
    await site.farshore.protect(VM);
    await site.untilFailing('SourceDiskFull', 'Warning', /Free space on that volume/);
    await resize(source, 512);
    await site.retryUntil(({ item }) => item.phase === 'Protected' && item.job === undefined);
    // The first cycle follows by itself.
    await site.until(({ item }) => (item.applied?.sequence ?? 0) >= 2);
    await site.expectEqual();

    // No room for the logs that the next writes go to.
    await site.write(MiB, 5 * MiB);
    await leave(source, 0);
    const sequence = await site.sync();
    await site.untilFailing('SourceDiskFull', 'Warning', /Free space on that volume/);
    await resize(source, 512);
    await site.retryUntil(({ item }) => (item.applied?.sequence ?? 0) >= sequence);
    await site.expectEqual();

    // The logs are sealed by then, while the VM ran; nobody waits for the retry before the VM is failed over.
    await site.write(4 * MiB, 8 * MiB);
    await leave(store, MiB);
    await site.sync();
    await site.untilFailing('StoreFull', 'Warning', /Free space on the volume that holds the store/);
    await site.write(MiB, 9 * MiB);
    await resize(store, 256);
    await site.farshore.startJob(VM, 'plannedFailover');
    await site.until(({ item }) => item.phase === 'FailedOver');
    await site.expectEqual();
  } finally {
    await site.stop();
  }
});
