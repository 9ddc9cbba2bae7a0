/**
 * A guest that really boots writes numbered transactions to ext4 on two disks. After each failover the replica boots, its
 * file systems mount, and what it holds is what the guest had acknowledged.
 */
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { DataFolder } from '../../dist/config/data-folder.js';
import { loadSite } from '../../dist/config/site-file.js';
// As built: the instance starts its processes from the folder it is loaded from.
import { startInstance } from '../../dist/instance/up.js';
import { guestImage } from '../support/guest/guest-image.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;
const VM = 'web-01';
const DISKS = ['os', 'data'];
const SOON = { timeout: 120_000, interval: 100 };

test('a planned failover loses nothing that the guest had acknowledged', async (context) => {
  requireReader('qemu-system-x86_64', context);
  const folder = await temporaryFolder();
  const { kernel, initialRamDisk, commandLine } = (await guestImage())!;
  await mkdir(path.join(folder, 'disks'));
  for (const name of DISKS) {
    const file = path.join(folder, 'disks', `${name}.img`);
    await writeFile(file, '');
    await truncate(file, 64 * MiB);
    await runReader('mke2fs', '-q', '-t', 'ext4', '-L', name, file);
  }
  await writeFile(
    path.join(folder, 'site.yaml'),
    `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: hyperv-01 }] }] }
guests: qemu
vms:
  - name: ${VM}
    host: hyperv-01
    hardware: { memoryBytes: ${256 * MiB}, processors: 1 }
    directBoot: { kernel: ${kernel}, initialRamDisk: ${initialRamDisk}, commandLine: ${commandLine} }
    disks: [{ name: os, path: disks/os.img }, { name: data, path: disks/data.img }]
`,
  );
  const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
  const data = new DataFolder(path.join(folder, 'data'));
  const running = await startInstance({ data, site, onProgress: () => undefined });
  const { address, namespace } = running.instance.temporal;
  const farshore = await Farshore.connect({ site: site.site, address, namespace });
  const source = () => readFile(path.join(data.hypervisorState('hyperv-01'), 'guests', VM, 'console.log'), 'utf8');
  const replica = () => readFile(path.join(data.recoveryState(), 'vms', VM, '.guest', 'console.log'), 'utf8');
  try {
    await expect.poll(source, SOON).toContain('guest: ready');
    await farshore.protect(VM);
    await farshore.followVm(VM, (view) => view?.item.phase === 'Protected' && view.item.applied !== undefined);
    await farshore.startJob(VM, 'plannedFailover');
    await farshore.followVm(VM, (view) => view?.item.phase === 'FailedOver' && view.item.job === undefined);
    expect(await source()).toContain('guest: shut down');
    await expect.poll(replica, SOON).toContain('guest: ready');
    console.log(await source(), await replica());
  } finally {
    await farshore.close();
    await running.stop();
  }
});
