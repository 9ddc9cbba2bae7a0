/**
 * Temporal's database is lost while guests go on writing. The vault says what was protected and where it runs, and
 * replication goes on by differences; where the hypervisor's tracking was broken meanwhile, the VM is marked.
 */
import { open, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { DataFolder } from '../../dist/config/data-folder.js';
import { loadSite } from '../../dist/config/site-file.js';
// As built: the instance starts its processes from the folder it is loaded from.
import { startInstance } from '../../dist/instance/up.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { NumberedWriter } from '../../sites/nbd/numbered-writer.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { Shell } from '../client/command.js';
import { requireReader, runReader } from '../support/readers.js';
import { farWindow } from '../support/far-window.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;
const DISK_BYTES = 16 * MiB;
const REGION = { offset: 8 * MiB, length: 4 * MiB };
const VMS = ['db-01', 'app-01', 'web-01'] as const;
type Vm = (typeof VMS)[number];

const siteText = `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: hyperv-01 }] }] }
policies:
  - { name: fast, copyFrequency: 30s, resynchronizationWindow: ${JSON.stringify(farWindow())} }
  - { name: slow, copyFrequency: 15m, resynchronizationWindow: ${JSON.stringify(farWindow())} }
vms:
${VMS.map((vm) => `  - { name: ${vm}, host: hyperv-01, policy: fast, disks: [{ name: os, path: ${vm}.img }] }`).join('\n')}
`;

test(
  'Temporal is lost: the vault is adopted, and replication continues incrementally',
  { timeout: 600_000 },
  async (context) => {
    requireReader('qemu-img', context);
    const folder = await temporaryFolder();
    for (const vm of VMS) {
      await writeFile(path.join(folder, `${vm}.img`), '');
      await truncate(path.join(folder, `${vm}.img`), DISK_BYTES);
    }
    await writeFile(path.join(folder, 'site.yaml'), siteText);
    const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
    const data = new DataFolder(folder);
    const hypervisor = new HypervisorClient(data.hypervisorControl('hyperv-01'));
    let running = await startInstance({ data, site, onProgress: () => undefined });
    const connect = () => {
      const { address, namespace } = running.instance.temporal;
      return Farshore.connect({ site: site.site, address, namespace });
    };
    let farshore = await connect();
    const until = (vm: Vm, reached: (view: ProtectedItemView) => boolean) =>
      farshore.followVm(vm, (view) => view !== undefined && reached(view));
    const write = async (vm: Vm, blocks: number) => {
      const guest = await NbdGuest.connect((await hypervisor.describeVm(vm)).disks[0]!.nbdUri!);
      const writer = await NumberedWriter.resume(guest, 'os', REGION);
      const last = writer.acknowledged + blocks;
      while (writer.acknowledged < last) await writer.writeNext();
      await guest.close();
    };
    const syncNow = async (vm: Vm) => {
      const { sequence } = await farshore.sync(vm);
      await until(vm, ({ item }) => (item.applied?.sequence ?? 0) >= sequence);
    };
    try {
      for (const vm of VMS) await farshore.protect(vm);
      for (const vm of VMS) await until(vm, ({ item }) => item.phase === 'Protected' && item.applied !== undefined);
      for (const vm of VMS) await write(vm, 50);
      const shell = new Shell(folder);
      const place = ['--data', folder, '--site', site.file];
      expect(await shell.run('set-policy', 'db-01', 'slow', ...place)).toMatchObject({ code: 0 });
      for (const vm of VMS) await syncNow(vm);
      const { jobId } = await farshore.startJob('app-01', 'plannedFailover');
      await until('app-01', ({ item }) => item.phase === 'FailedOver');
      const before = (await farshore.protectedItem('db-01'))!.item;

      await farshore.close();
      await running.stop();
      for (const suffix of ['', '-wal', '-shm']) await rm(data.temporalDatabase() + suffix, { force: true });
      running = await startInstance({ data, site, onProgress: () => undefined });
      farshore = await connect();
      expect(await farshore.protectedItem('db-01')).toBeUndefined();
      expect(await shell.run('status', ...place)).toMatchObject({
        code: 2,
        stdout: expect.stringContaining('farshore vault adopt'),
      });
      // What was done is not forgotten.
      expect((await shell.json('job', 'show', jobId, ...place)).value).toMatchObject({ id: jobId, state: 'Succeeded' });
      expect((await shell.json('job', 'list', '--vault', '--limit', '1', ...place)).value).toMatchObject({
        jobs: [{ id: jobId }],
      });
      for (const vm of ['db-01', 'web-01'] as const) await write(vm, 50);
      await hypervisor.endReplication('web-01');

      const adopted = (await shell.json('vault', 'adopt', ...place)).value;
      expect(adopted).toMatchObject({
        vms: [
          { vm: 'app-01', phase: 'FailedOver' },
          { vm: 'db-01', phase: 'Protected', policyName: 'slow' },
          { vm: 'web-01', phase: 'Protected', resyncCause: expect.stringContaining('no longer tracks') },
        ],
      });
      expect((await shell.json('vault', 'adopt', 'db-01', ...place)).value).toMatchObject({
        vms: [{ vm: 'db-01', refusal: expect.stringContaining('already') }],
      });

      await write('db-01', 50);
      await syncNow('db-01');
      const after = (await farshore.protectedItem('db-01'))!.item;
      expect(after).toMatchObject({ phase: 'Protected', epoch: before.epoch, policy: { name: 'slow' } });
      expect(after.resync).toBeUndefined();
      expect(after.applied!.sequence).toBeGreaterThan(before.applied!.sequence);
      const replica = path.join(folder, 'store', 'vms', 'db-01', 'disks', 'os.vhd');
      const source = path.join(folder, 'db-01.img');
      expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', source, replica)).toContain('identical');
      const content = Buffer.alloc(4096);
      const file = await open(replica, 'r');
      await file.read(content, 0, content.length, REGION.offset);
      await file.close();
      expect(content.equals(Buffer.alloc(4096))).toBe(false);

      expect((await farshore.protectedItem('web-01'))!.conditions[0]).toMatchObject({ reason: 'ResyncRequired' });
      await until('app-01', ({ item }) => item.sourceFence === undefined);
      await farshore.startJob('app-01', 'commitFailover');
      await until('app-01', ({ item }) => item.phase === 'Committed');
    } finally {
      await farshore.close();
      await running.stop();
    }
  },
);
