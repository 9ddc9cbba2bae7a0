/** A VM that gets another disk and a larger one, and one that moves, on real parts and by the site file alone. */
import { copyFile, readdir, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { Shell } from '../client/command.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;

test('a disk is added, another grows, and the VM moves to another host', { timeout: 240_000 }, async (context) => {
  requireReader('qemu-img', context);
  const folder = await temporaryFolder();
  const site = await SmallSite.start(folder, '.');
  const file = (name: string) => path.join(folder, `${name}.img`);
  const shell = new Shell(folder);
  const command = async (...args: string[]) => (await shell.json(...args, '--data', 'data')).value;
  const syncNow = async () => {
    const sequence = await site.sync();
    return (await site.until(({ item }) => (item.applied?.sequence ?? 0) >= sequence)).item;
  };
  try {
    await site.farshore.protect(VM);
    await site.until(({ item }) => item.phase === 'Protected' && item.job === undefined);
    await site.write(2 * MiB, 6 * MiB);
    const { latestRecoveryPoint: older, epoch } = await syncNow();
    await copyFile(site.disk, file('then'));

    // A disk that is replicated and one that is not; the one it boots from has grown meanwhile.
    await site.restart(
      (text) =>
        text.replace(
          'os.img, format: raw }',
          'os.img }, { name: data-02, path: data-02.img }, { name: scratch, path: scratch.img, excluded: true }',
        ),
      {
        meanwhile: async () => {
          await truncate(site.disk, 41 * MiB + 512);
          for (const name of ['data-02', 'scratch']) {
            await writeFile(file(name), Buffer.alloc(MiB, name));
            await truncate(file(name), 6 * MiB);
          }
        },
      },
    );
    await site.sync().catch(() => undefined);
    const { item, conditions } = await site.until((view) => view.item.resync !== undefined);
    const cause = `disk os grew from ${32 * MiB} to ${41 * MiB + 512} bytes; disk data-02 was added`;
    expect(item.resync!.cause).toContain(cause);
    expect(conditions[0]).toMatchObject({ reason: 'ResyncRequired', message: expect.stringContaining(cause) });
    for (const disk of ['os', 'data-02', 'scratch']) await site.write(64 * 1024, 3 * MiB, disk);
    const { jobId } = await site.farshore.resynchronize(VM, true);
    await site.write(64 * 1024, 40 * MiB, 'os');
    await site.until((view) => view.item.resync === undefined && view.item.job === undefined);
    expect((await site.farshore.job(jobId!)).state).toBe('Succeeded');
    await site.write(64 * 1024, 41 * MiB + 512 - 64 * 1024, 'os');
    await site.write(64 * 1024, 5 * MiB, 'data-02');
    const { epoch: next } = await syncNow();
    expect(next).toBe(epoch + 1);
    await site.expectEqual({ disks: ['os', 'data-02'] });
    expect(
      (await readdir(path.join(folder, 'store', 'vms', VM, 'disks'))).filter((name) => name.startsWith('scratch')),
    ).toEqual([]);
    expect((await readdir(folder)).filter((name) => /^scratch.*hrl/.test(name))).toEqual([]);
    expect(await command('vm', 'list')).toMatchObject({
      vms: [{ vm: VM, disks: [{ name: 'os' }, { name: 'data-02' }, { name: 'scratch', excluded: true }] }],
    });

    const exported = await command('vault', 'export', VM, '--point', older!.id, '--to', 'older');
    expect(exported).toMatchObject({ disks: [{ name: 'os', size: 32 * MiB }] });
    const vhd = path.join(folder, 'older', 'os.vhd');
    expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', file('then'), vhd)).toContain('identical');

    await site.restart(
      (text) =>
        text
          .replace('[{ name: hyperv-01 }]', '[{ name: hyperv-01 }, { name: hyperv-02 }]')
          .replace('host: hyperv-01', 'host: hyperv-02'),
      { host: 'hyperv-02' },
    );
    await site.write(64 * 1024, 2 * MiB, 'data-02');
    const moved = await syncNow();
    expect(moved).toMatchObject({ host: 'hyperv-02', epoch: next });
    expect(moved.resync).toBeUndefined();
    expect(moved.recentJobs.at(-1)!.id).toBe(jobId);
    await site.expectEqual({ disks: ['os', 'data-02'] });
  } finally {
    await site.stop();
  }
});
