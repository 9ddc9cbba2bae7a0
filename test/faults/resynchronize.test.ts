/**
 * What makes the logs of a VM tell less than the whole difference, on real parts: the VM is marked, says why, and a
 * resynchronization ends with an equal replica, while the guest writes and with processes killed in the middle of it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { flipByte } from '../replication/replica-fixture.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;
const PROCESSES = ['host-hyperv-01', 'hypervisor-hyperv-01', 'azure-vault-01'];

test('half a disk of logs, a flipped bit in a log, and a kill in the middle', { timeout: 300_000 }, async (context) => {
  requireReader('qemu-img', context);
  const folder = await temporaryFolder();
  // So slow that the guest writes half a disk before the 8 MiB of data are copied.
  const site = await SmallSite.start(folder, '.', { bandwidth: '8 Mbit/s' });
  /** Its tracker stops by itself then, and the guest goes on. */
  const writeHalfADisk = async (): Promise<void> => {
    const { size } = (await site.hypervisor.describeVm(VM)).disks[0]!;
    for (let written = 0; written <= size / 2; written += 4 * MiB) await site.write(4 * MiB, 4 * MiB);
    expect((await site.hypervisor.describeVm(VM)).tracking?.resyncCause).toMatch(/reached 50 % of its size/);
  };
  const isMarked = (cause: RegExp) =>
    site.until(({ item, health }) => cause.test(item.resync?.cause ?? '') && health === 'Critical');
  /** @returns bytes sent. */
  const resynchronize = async (meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<number> => {
    const { jobId } = await site.farshore.resynchronize(VM, true);
    await meanwhile();
    await site.until(({ item }) => item.resync === undefined && item.job === undefined);
    return Number((await site.farshore.job(jobId!)).result?.['bytesSent']);
  };
  try {
    // While its initial copy runs.
    await site.farshore.protect(VM);
    await site.until(({ item }) => item.job?.task === 'Copying the virtual disks');
    await writeHalfADisk();
    expect((await site.farshore.protectedItem(VM))!.item.job?.kind).toBe('initialReplication');
    const early = await site.until(({ item }) => item.resync !== undefined);
    expect(early).toMatchObject({
      health: 'Critical',
      item: { resync: { cause: expect.stringMatching(/reached 50 % of its size/) } },
    });
    await site.until(({ item }) => item.job === undefined);
    const { jobId } = await site.farshore.resynchronize(VM, true);
    await site.write(MiB, 16 * MiB);
    await site.until(({ item }) => item.resync === undefined && item.job === undefined && item.phase === 'Protected');
    expect((await site.farshore.job(jobId!)).state).toBe('Succeeded');
    await site.syncNow();
    await site.expectEqual();
    const points = (await site.farshore.protectedItem(VM))!.item.latestRecoveryPoint;

    // The agent is dead.
    process.kill(site.running.processId('host-hyperv-01')!, 'SIGKILL');
    await writeHalfADisk();
    await site.write(MiB, 12 * MiB);
    await site.sync();
    const marked = await isMarked(/reached 50 % of its size/);
    expect(marked.conditions[0]).toMatchObject({ reason: 'ResyncRequired', health: 'Critical' });
    expect(marked.operations.plannedFailover).toMatchObject({ allowed: false });
    expect(marked.operations.sync).toMatchObject({ allowed: false });

    const sent = await resynchronize(async () => site.write(MiB, 16 * MiB));
    expect(sent).toBeLessThanOrEqual(6 * MiB);
    await site.write(MiB, 17 * MiB);
    const first = await site.sync();
    const after = await site.until(({ item }) => (item.applied?.sequence ?? 0) >= first);
    expect(after.item.epoch).toBe(marked.item.epoch + 1);
    expect(points).toBeDefined();
    await site.expectEqual();

    // A bit that turns over in a log at rest: found before anything of it reaches the replica.
    await site.write(MiB, 20 * MiB);
    const log = (await site.logs()).at(-1)!;
    await flipByte(log, 4096 + 40 + 1000);
    await site.sync();
    await isMarked(/damaged/);
    await resynchronize(async () => {
      await site.until(({ item }) => item.job?.task === 'Comparing the virtual disks' || item.resync === undefined);
      for (const name of PROCESSES) {
        const pid = site.running.processId(name);
        if (pid !== undefined) process.kill(pid, 'SIGKILL');
      }
      // An administrator who does not wait for the ladder.
      for (;;) {
        const view = await site.farshore.protectedItem(VM).catch(() => undefined);
        if (view && view.item.resync === undefined) break;
        if (view?.operations.retry.allowed) await site.farshore.retry(VM).catch(() => undefined);
        await sleep(200);
      }
    });
    await site.write(MiB, 21 * MiB);
    const last = await site.sync();
    await site.until(({ item }) => (item.applied?.sequence ?? 0) >= last);
    await site.expectEqual();
  } finally {
    await site.stop();
  }
});
