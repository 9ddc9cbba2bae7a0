/**
 * A site with one VM whose guest really boots, and writes numbered transactions to ext4: to one disk and then to the other.
 */
import { copyFile, mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, type TestContext } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { DataFolder } from '../../dist/config/data-folder.js';
import { loadSite } from '../../dist/config/site-file.js';
// As built: the instance starts its processes from the folder it is loaded from.
import { startInstance } from '../../dist/instance/up.js';
import { bootedTransactions } from '../../client/demo/guest/console.js';
import { requireGuestImage } from '../support/guest-image.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;
export const VM = 'web-01';
const DISKS = ['os', 'data'];
export const SOON = { timeout: 180_000, interval: 100 };

/** A running instance with one VM whose guest is ready, protected. */
export async function bootedSite(context: TestContext) {
  requireReader('qemu-system-x86_64', context);
  const { kernel, initialRamDisk, commandLine } = await requireGuestImage(context);
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'disks'));
  for (const name of DISKS) {
    const file = path.join(folder, 'disks', `${name}.img`);
    await writeFile(file, '');
    await truncate(file, 64 * MiB);
    await runReader('mke2fs', '-q', '-t', 'ext4', '-L', name, file);
  }
  const file = path.join(folder, 'site.yaml');
  await writeFile(
    file,
    `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - name: vmm-01
    logicalNetworks: [{ name: lan }]
    vmNetworks: [{ name: frontend, logicalNetwork: lan }]
    clouds: [{ name: cloud, logicalNetworks: [lan], hosts: [{ name: hyperv-01 }] }]
azureNetworks: [{ name: recovery-lan, subnets: [frontend] }]
networkMappings: [{ vmNetwork: frontend, azureNetwork: recovery-lan }]
guests: qemu
policies: [{ name: rare, copyFrequency: 15m }]
vms:
  - name: ${VM}
    host: hyperv-01
    policy: rare
    hardware: { memoryBytes: ${256 * MiB}, processors: 1 }
    directBoot: { kernel: ${kernel}, initialRamDisk: ${initialRamDisk}, commandLine: ${commandLine} }
    disks: [{ name: os, path: disks/os.img }, { name: data, path: disks/data.img }]
    networkAdapters: [{ name: lan, vmNetwork: frontend }]
    checks: [{ console: 'guest: ready', within: 3m }, { command: [test, -s, /os/transactions] }]
`,
  );
  const site = await loadSite(file, { disks: true });
  const data = new DataFolder(path.join(folder, 'data'));
  const running = await startInstance({ data, site, onProgress: () => undefined });
  onTestFinished(() => running.stop());
  const { address, namespace } = running.instance.temporal;
  const farshore = await Farshore.connect({ site: site.site, address, namespace });
  onTestFinished(() => farshore.close());
  const source = () => readFile(path.join(data.hypervisorState('hyperv-01'), 'guests', VM, 'console.log'), 'utf8');
  const replica = () => readFile(path.join(data.recoveryState(), 'vms', VM, '.guest', 'console.log'), 'utf8');
  await expect.poll(source, SOON).toContain('guest: ready');
  await farshore.protect(VM);
  await farshore.followVm(VM, (view) => view?.item.phase === 'Protected' && view.item.applied !== undefined);
  /** @returns what the replica's disks held as it booted. */
  const failOver = async (...[kind, parameters]: [Parameters<typeof farshore.startJob>[1], object?]) => {
    await farshore.startJob(VM, kind, parameters);
    await farshore.followVm(VM, (view) => view?.item.phase === 'FailedOver' && view.item.job === undefined);
    await expect.poll(replica, SOON).toContain('guest: ready');
    return bootedTransactions(await replica())[0]!;
  };
  /** What the newest transaction of each disk of the source is, read from its files by e2fsprogs. */
  const written = async () => {
    const counts = DISKS.map(async (name) => {
      const image = path.join(folder, 'disks', `${name}.copy`);
      await copyFile(path.join(folder, 'disks', `${name}.img`), image);
      // Of a guest that was killed, the newest transactions may only be in the journal.
      await runReader('debugfs', '-w', '-R', 'journal_run', image);
      const text = await runReader('debugfs', '-R', 'cat /transactions', image);
      return text.split('\n').length - 1;
    });
    const [os, onData] = await Promise.all(counts);
    return { os: os!, data: onData! };
  };
  return { folder, data, running, farshore, source, replica, failOver, written };
}
