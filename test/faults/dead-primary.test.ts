/**
 * The whole primary site dies in the middle of a cycle, for good: the VM is failed over from the store alone, to an
 * exact state, while the store is read by others. When the primary site comes back it is fenced.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { access, cp, open, readFile, readdir, rename, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { DataFolder } from '../../dist/config/data-folder.js';
import { loadSite } from '../../dist/config/site-file.js';
// As built: the instance starts its processes from the folder it is loaded from.
import { startInstance } from '../../dist/instance/up.js';
import { unplannedFailoverResultSchema, type Job } from '../../domain/job.js';
import { appliedStateSchema } from '../../domain/vault.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { NumberedWriter, verifyNumbered } from '../../sites/nbd/numbered-writer.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { cliPath, Shell } from '../client/command.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;
const DISK_BYTES = 192 * MiB;
const REGION = { offset: DISK_BYTES - 16 * MiB, length: 16 * MiB };
const VM = 'db-01';
const PRIMARY = ['hypervisor-hyperv-01', 'host-hyperv-01', 'vmm-vmm-01'];

const siteText = `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: hyperv-01 }] }] }
policies: [{ name: fast, copyFrequency: 30s }]
vms:
  - { name: ${VM}, host: hyperv-01, policy: fast, disks: [{ name: os, path: os.img }] }
`;

const exists = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  );

test(
  'the primary site is dead: a VM is failed over from the store to an exact state, exported, and its source fenced when it is back',
  { timeout: 600_000 },
  async (context) => {
    requireReader('qemu-img', context);
    const folder = await temporaryFolder();
    const image = path.join(folder, 'os.img');
    await writeFile(image, '');
    await truncate(image, DISK_BYTES);
    const file = await open(image, 'r+');
    for (let offset = 0; offset < 128 * MiB; offset += MiB) await file.write(randomBytes(MiB), 0, MiB, offset);
    await file.close();
    await writeFile(path.join(folder, 'site.yaml'), siteText);
    const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
    const data = new DataFolder(folder);
    const running = await startInstance({ data, site, onProgress: () => undefined });
    const { address, namespace } = running.instance.temporal;
    const farshore = await Farshore.connect({ site: site.site, address, namespace });
    const hypervisor = new HypervisorClient(data.hypervisorControl('hyperv-01'));
    const until = (reached: (view: ProtectedItemView) => boolean) =>
      farshore.followVm(VM, (view) => view !== undefined && reached(view));
    const syncNow = async () => {
      const { sequence } = await farshore.sync(VM);
      return await until(({ item }) => (item.applied?.sequence ?? 0) >= sequence);
    };
    let writing = true;
    let guest: Promise<unknown> = Promise.resolve();
    try {
      await farshore.protect(VM);
      await until(({ item }) => item.phase === 'Protected' && item.applied !== undefined);
      const disk = await NbdGuest.connect((await hypervisor.describeVm(VM)).disks[0]!.nbdUri!);
      const writer = await NumberedWriter.resume(disk, 'os', REGION);
      while (writer.acknowledged < 200) await writer.writeNext();
      const kept = (await syncNow())!.item.latestRecoveryPoint!;
      await cp(image, path.join(folder, 'kept.img'));

      guest = writer.run(() => writing).catch(() => undefined);
      await syncNow();
      const before = (await syncNow())!.item.applied!;
      const aside = [site.file, data.hypervisorConfig('hyperv-01')];
      // Whatever the supervisor starts again dies at once.
      for (const name of aside) await rename(name, `${name}.aside`);
      await farshore.sync(VM);
      await sleep(60);
      for (const name of PRIMARY) process.kill(running.processId(name)!, 'SIGKILL');
      writing = false;
      await guest;

      const shell = new Shell(folder);
      const failover = ['failover', VM, '--type', 'unplanned', '--data', folder, '--site', `${site.file}.aside`];
      const asked = await shell.run(...failover);
      expect(asked).toMatchObject({
        code: 3,
        // Which of them, is up to whether the host was seen between its last cut and its death.
        stderr: expect.stringMatching(
          /(Host hyperv-01 was last seen at|Host hyperv-01 has not been heard since then).* is lost/,
        ),
      });
      // What the dead host would be needed for is refused at once, and what is not needed for it is named.
      const planned = ['failover', VM, '--type', 'planned', '--yes', '--data', folder, '--site', `${site.file}.aside`];
      const refused = await shell.run(...planned);
      expect(refused.code).toBe(3);
      expect(refused.stderr).toMatch(/db-01: its host hyperv-01 .*does not answer, and a planned failover needs it/);
      expect(refused.stderr).toContain(`farshore failover ${VM} --type unplanned --wait`);
      const diedAt = Date.now();
      const askedAt = performance.now();
      const { value } = await shell.json(...failover, '--wait', '--yes');
      console.log(`asked until failed over: ${Math.round(performance.now() - askedAt)} ms`);
      const failedOver = (await farshore.protectedItem(VM))!;
      expect(failedOver.item.phase).toBe('FailedOver');
      expect(failedOver.conditions.map(({ reason }) => reason)).toContain('SourceNotFenced');
      const result = unplannedFailoverResultSchema.parse((value as { vms: { job: Job }[] }).vms[0]!.job.result);
      const store = path.join(folder, 'store');
      const applied = appliedStateSchema.parse(
        JSON.parse(await readFile(path.join(store, 'vms', VM, 'applied.json'), 'utf8')),
      );
      expect(applied.sequence).toBeGreaterThanOrEqual(before.sequence);
      expect(result.recoveryPointTime).toBe(applied.sealedAt);
      // The loss ends where the host was seen last, however long it took to decide.
      const seenAt = Date.parse(result.hostSeenAt!);
      expect(seenAt).toBeLessThan(diedAt);
      const silentAt = Date.parse(result.hostSilentAt!);
      expect(silentAt).toBeGreaterThanOrEqual(seenAt);
      // At the latest when it was asked for the failover.
      expect(silentAt).toBeLessThanOrEqual(Date.parse(result.declaredAt!));
      expect(result.rpoSeconds).toBe(Math.ceil((silentAt - Date.parse(applied.sealedAt)) / 100) / 10);
      expect(result.outageSeconds).toBeGreaterThanOrEqual(result.rtoSeconds);
      const replicaUri = result.replicaDisks[0]!.nbdUri!;
      const replica = await NbdGuest.connect(replicaUri);
      const found = await verifyNumbered(replica, 'os', REGION);
      await replica.close();
      // Every write of the guest is a numbered block, and the tracker has counted them.
      expect(found).toEqual({ last: applied.disks[0]!.lastWrite, faults: [] });
      expect(found.last).toBeLessThanOrEqual(writer.acknowledged + 1);
      console.log(`acknowledged ${writer.acknowledged}, replica ${found.last}, RPO ${result.rpoSeconds} s`);

      // What else the store holds, by the command alone, beside the Azure worker.
      const listing = (await shell.json('vault', 'list', '--store', store)).value as { vms: { phase: string }[] };
      expect(listing.vms).toMatchObject([{ vm: VM, phase: 'FailedOver', fence: { epoch: 3 } }]);
      const target = path.join(folder, 'exported');
      const args = ['vault', 'export', VM, '--point', kept.id, '--to', target, '--store', store];
      const first = execFile(process.execPath, [cliPath, ...args], { cwd: folder, env: shell.env });
      while (!(await exists(path.join(target, 'os.vhd.partial'))) && first.exitCode === null) await sleep(2);
      const ended = first.exitCode === null ? once(first, 'exit') : undefined;
      first.kill('SIGKILL');
      // Until it is gone it holds the folder.
      await ended;
      expect(await exists(path.join(target, 'os.vhd'))).toBe(false);
      const again = await shell.run(...args);
      expect(again).toMatchObject({ code: 0 });
      const exported = path.join(target, 'os.vhd');
      expect(
        await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', path.join(folder, 'kept.img'), exported),
      ).toContain('identical');
      expect((await readdir(target)).toSorted()).toEqual(['description.json', 'export.json', 'os.vhd']);
      expect(await shell.run(...args)).toMatchObject({ code: 3, stderr: expect.stringContaining('already exists') });
      const latest = path.join(folder, 'latest');
      await shell.run('vault', 'export', VM, '--point', 'latest', '--to', latest, '--store', store);
      const atLatest = path.join(latest, 'os.vhd');
      expect(await runReader('qemu-img', 'compare', '-f', 'vpc', '-F', 'raw', atLatest, replicaUri)).toContain(
        'identical',
      );

      await farshore.startJob(VM, 'commitFailover');
      await until(({ item }) => item.phase === 'Committed');
      for (const name of aside) await rename(`${name}.aside`, name);
      await until(({ item }) => item.sourceFence === undefined);
      // Its hypervisor was started again by the supervisor alone, and served nothing first.
      expect((await farshore.protectedItem(VM))!.item.sourceRan).toBeUndefined();
      expect((await hypervisor.describeVm(VM)).state).toBe('Off');
      await expect(hypervisor.startVm(VM, 1)).rejects.toMatchObject({ code: 'StaleEpoch' });
    } finally {
      writing = false;
      await guest;
      await farshore.close();
      await running.stop();
    }
  },
);
