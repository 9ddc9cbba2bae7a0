/**
 * The agent, the hypervisor and the Azure worker are killed in the initial copy, in a delta cycle and in the failover,
 * while a guest writes. Whatever dies, the replica ends up equal, and nothing has to be resynchronized.
 */
import { randomBytes } from 'node:crypto';
import { open, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { DataFolder } from '../../dist/workers/data-folder.js';
import { loadSite } from '../../dist/workers/site-file.js';
import type { ProtectedItemView } from '../../workflows/messages.js';
import { HypervisorClient } from '../../sites/embedded/control-client.js';
import { NbdGuest } from '../../sites/embedded/guest.js';
import { NumberedWriter, verifyNumbered } from '../../sites/embedded/numbered-writer.js';
import { failoverResultSchema } from '../../domain/job.js';
// As built: the instance starts its processes from the folder it is loaded from.
import { startInstance } from '../../dist/workers/up.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;
const DISK_BYTES = 256 * MiB;
const REGION = { offset: DISK_BYTES - 16 * MiB, length: 16 * MiB };
const VM = 'db-01';
const PROCESSES = ['host-hyperv-01', 'hypervisor-hyperv-01', 'azure-vault-01'];

const siteText = `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: hyperv-01 }] }] }
policies: [{ name: fast, copyFrequency: 30s }]
vms:
  - { name: ${VM}, host: hyperv-01, policy: fast, disks: [{ name: os, path: os.img }] }
`;

/** Writes numbered blocks through restarts of the hypervisor until told to stop. */
class StubbornGuest {
  acknowledged = 0;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(private readonly hypervisor: HypervisorClient) {}

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const uri = (await this.hypervisor.describeVm(VM)).disks[0]!.nbdUri!;
        const disk = await NbdGuest.connect(uri);
        try {
          const writer = await NumberedWriter.resume(disk, 'os', REGION);
          // What was acknowledged before the hypervisor died is still there.
          expect(writer.acknowledged).toBeGreaterThanOrEqual(this.acknowledged);
          while (!this.#stopped) {
            await writer.writeNext();
            this.acknowledged = writer.acknowledged;
            await sleep(2);
          }
        } finally {
          await disk.close().catch(() => undefined);
        }
      } catch (error) {
        if (error instanceof Error && error.name === 'AssertionError') throw error;
        await sleep(100);
      }
    }
  }
}

test(
  'killed in the initial copy, in a delta cycle and in the failover: equal, without a resync',
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
    const guest = new StubbornGuest(new HypervisorClient(data.hypervisorControl('hyperv-01')));
    const kill = () => {
      for (const name of PROCESSES) {
        const pid = running.processId(name);
        if (pid !== undefined) process.kill(pid, 'SIGKILL');
      }
    };
    /** An administrator who does not wait for the ladder. */
    const until = async (reached: (view: ProtectedItemView) => boolean): Promise<ProtectedItemView> => {
      for (;;) {
        const view = await farshore.protectedItem(VM).catch(() => undefined);
        expect(view?.item.resync).toBeUndefined();
        if (view && reached(view)) return view;
        if (view?.operations.retry.allowed) await farshore.retry(VM).catch(() => undefined);
        await sleep(100);
      }
    };
    try {
      guest.start();
      await farshore.protect(VM);
      await until(({ item }) => item.job?.task === 'Copying the virtual disks');
      kill();
      const seeded = await until(({ item }) => item.phase === 'Protected');

      const { sequence } = await farshore.sync(VM).catch(() => ({ sequence: seeded.item.nextSequence }));
      await sleep(150);
      kill();
      await until(({ item }) => (item.applied?.sequence ?? 0) >= sequence);

      await until(({ item }) => item.job === undefined);
      const { jobId } = await farshore.startJob(VM, 'plannedFailover');
      await until(({ item }) => item.job?.task === 'Preparing for failover' || item.phase === 'FailedOver');
      kill();
      await until(({ item }) => item.phase === 'FailedOver');
      await guest.stop();

      const result = failoverResultSchema.parse((await farshore.job(jobId)).result);
      for (const disk of result.disks) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
      const replica = path.join(folder, 'store', 'vms', VM, 'disks', 'os.vhd');
      expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', image, replica)).toContain('identical');
      const reader = await open(replica, 'r');
      const source = {
        read: async (target: Buffer, offset: number) => void (await reader.read(target, 0, target.length, offset)),
      };
      const { last, faults } = await verifyNumbered(source, 'os', REGION);
      await reader.close();
      expect(faults).toEqual([]);
      expect(last).toBeGreaterThanOrEqual(guest.acknowledged);
      expect(guest.acknowledged).toBeGreaterThan(100);
    } finally {
      await guest.stop().catch(() => undefined);
      await farshore.close();
      await running.stop();
    }
  },
);
