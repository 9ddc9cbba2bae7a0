/** The first steps of the demo: the VMs are protected while their guests write, and changes are sent. */
import { formatBytes } from '../../domain/bytes.js';
import { formatSeconds } from '../../domain/time.js';
import { waitForJob } from '../commands/wait.js';
import { JobFailedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { note } from '../output.js';
import { Progress } from '../progress.js';

export interface Seeded {
  /** Bytes of disk content that were sent. */
  readonly bytesSent: number;
  readonly seedSeconds: number;
}

export async function protectAll(farshore: Farshore, vms: readonly string[]): Promise<Map<string, Seeded>> {
  note(`Protecting ${vms.join(', ')}`);
  const progress = new Progress();
  const seeded = new Map<string, Seeded>();
  await Promise.all(
    vms.map(async (vm) => {
      const startedAt = performance.now();
      const enable = await waitForJob(farshore, (await farshore.protect(vm)).jobId, progress);
      if (enable.state !== 'Succeeded') throw new JobFailedError(`${vm}: ${enable.failure?.message ?? enable.state}`);
      const view = await farshore.followVm(
        vm,
        (seen) => seen?.item.phase === 'Protected',
        (seen) => {
          const job = seen?.item.job;
          const retry = job?.retry;
          progress.update(vm, {
            name: job?.task ?? (seen?.item.phase === 'Protected' ? 'Protected' : 'Initial replication'),
            ...(job?.progress && { bytes: job.progress }),
            ...(retry && { remark: retry.failure.message }),
          });
          // The demo has no operator, so a job that waits for one ends it.
          if (retry && retry.nextTryAt === undefined) throw new JobFailedError(`${vm}: ${retry.failure.message}`);
        },
      );
      const job = await farshore.job(view!.item.recentJobs.find((each) => each.kind === 'initialReplication')!.id);
      seeded.set(vm, {
        bytesSent: Number(job.result?.['bytesSent'] ?? 0),
        seedSeconds: (performance.now() - startedAt) / 1000,
      });
    }),
  );
  progress.close();
  return seeded;
}

/** Requests a cycle of each VM and waits for it. */
export async function syncAll(farshore: Farshore, vms: readonly string[]): Promise<void> {
  note('Replication cycles run every 30 s; requesting one now');
  await Promise.all(
    vms.map(async (vm) => {
      const { sequence } = await farshore.sync(vm);
      const view = await farshore.followVm(vm, (seen) => (seen?.item.applied?.sequence ?? 0) >= sequence);
      note(
        `${vm}: cycle ${sequence} applied, ${formatBytes(view?.item.applied?.bytes ?? 0)} sent, RPO ${formatSeconds(view?.rpoSeconds ?? 0)}`,
      );
    }),
  );
}
