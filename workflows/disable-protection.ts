/**
 * Job "Disable protection": the primary site stops tracking; then the replica is deleted, or kept if that was
 * requested. Does not touch the VM at the primary site.
 *
 * After a committed failover, only the protection ends: the replica VM keeps running on its disks, and the primary
 * site, which may no longer exist, is not contacted.
 *
 * Restart: each step is repeatable. Until tracking has ended, the job can be cancelled and has changed nothing. After
 * that it only moves forward: a replica that no longer receives changes is useless to a protection.
 */
import { CancellationScope } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import { mergeSnapshot } from './copy-disks.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';

export async function disableProtection(input: JobInput): Promise<Job> {
  return runJob(input, 'disableProtection', async (run) => {
    const { vm, epoch, activeSide, parameters } = run.input;
    const inUse = activeSide === 'recovery';
    const replicaKept = inUse || (parameters?.keepReplica ?? false);
    const notAsked = inUse
      ? 'the VM runs at the recovery site'
      : parameters?.primaryLost
        ? 'the primary site is given up as lost'
        : undefined;
    await run.task(
      'Disabling protection at the primary site',
      async () => {
        // A tracker that is not told stops by itself at its limits, and a later protection takes over from it.
        if (notAsked !== undefined) return;
        await mergeSnapshot(run);
        await run.step('stop tracking', () => run.source.endReplication({ vm }));
      },
      () => (notAsked === undefined ? undefined : { state: 'Skipped', reason: `skipped: ${notAsked}` }),
    );
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      await run.task('Clearing up at the recovery site', async () => {
        if (replicaKept) await run.step('keep the replica', () => run.target.keepReplica({ vm, epoch, inUse }));
        else await run.step('remove the replica', () => run.target.removeReplica({ vm, epoch }));
      });
      return { ...(!inUse && { epoch: epoch + 1 }), result: { replicaKept } };
    });
  });
}
