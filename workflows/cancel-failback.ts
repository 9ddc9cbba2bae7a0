/**
 * Job "Cancel failback": before the commit, the VM goes back to the recovery site, with its state when the failback shut
 * it down there. Everything written at the primary site since is discarded; the original disks are as they were.
 *
 * The order keeps the VM from running at both sites: before the replica VM is started, the VM at the primary site is off
 * and fenced. If the primary site is lost, it is fenced as soon as it answers, as after an unplanned failover.
 *
 * Restart: each step is repeatable. Until "Returning to the recovery site", the job can be cancelled; the VM is then
 * started again at the primary site.
 */
import { CancellationScope, isCancellation } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import { BEFORE_THAT, startSilent } from '../domain/start-again.js';
import type { JobRun } from './job-run.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';
import { askedSidesOf, sourceIfThere } from './sides.js';
import { failureOf, StepFailure } from './step-failure.js';

type Run = JobRun<'cancelFailback'>;

export async function cancelFailback(input: JobInput): Promise<Job> {
  return runJob(input, 'cancelFailback', async (run) => {
    const { vm, parameters } = run.input;
    const isLost = parameters?.primaryLost === true;
    const { epoch } = await run.task('Prerequisites check for cancelling the failback', async () => {
      if (!isLost) await ask(run, 'check the host', ({ source }) => source.checkSource({ vm }));
      return ask(run, 'check the replica VM', ({ target }) => target.checkFailbackCancellation({ vm }));
    });
    if (!isLost) run.compensateWith('startSource');
    await run.task(
      'Shut down the virtual machine',
      () => (isLost ? shutDownIfThere(run) : run.step('shut down the VM', () => shutDown(run))),
      (problem) => (problem === undefined ? undefined : { state: 'Failed', reason: problem }),
    );
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      await run.task('Returning to the recovery site', async () => {
        if (!isLost) await run.step('fence the VM', () => run.sourceFabric.fenceVm({ vm, epoch }));
        await run.step('give the replica VM the right to run', () => run.target.returnToRecovery({ vm, epoch }));
      });
      await run.task(
        'Discarding the changes at the primary site',
        async () => {
          if (!isLost) await run.step('discard the layers', () => run.source.discardFailback({ vm }));
        },
        () =>
          isLost
            ? { state: 'Skipped', reason: 'the primary site is lost; the next failback discards them' }
            : undefined,
      );
      const { startedAt } = await run.task('Start the replica virtual machine', async () => {
        const started = await run.step('start the replica VM', () => run.target.restartReplicaVm({ vm }));
        await run.step('stop tracking the replica VM', () => run.target.endFailback({ vm }));
        return started;
      });
      return { epoch, result: { runningAt: startedAt } };
    });
  });
}

async function shutDown(run: Run): Promise<undefined> {
  await run.sourceFabric.shutDownVm({ vm: run.input.vm });
  return undefined;
}

/** One bounded attempt. @returns why it failed. */
async function shutDownIfThere(run: Run): Promise<string | undefined> {
  const { vault, vm, host, vmmServer } = run.input;
  try {
    await sourceIfThere(vault, host, vmmServer).sourceFabric.shutDownVm({ vm });
    return undefined;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return `${failureOf(error).message}; it is turned off and fenced once its Provider answers`;
  }
}

/** Any failure ends the job before anything is changed. @throws StepFailure */
async function ask<T>(
  run: Run,
  name: string,
  question: (sides: ReturnType<typeof askedSidesOf>) => Promise<T>,
): Promise<T> {
  const isFinal = () => true;
  try {
    return await run.step(name, () => question(askedSidesOf(run.input)), isFinal);
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    const { failure } = error;
    const { vm } = run.input;
    const start = startSilent(failure.code, run.input);
    const remedy =
      start === undefined
        ? failure.remedy
        : `Restart it: ${start}. ${BEFORE_THAT}. Then cancel the failback again. If the primary site is lost: farshore cancel-failback ${vm} --primary-lost`;
    throw new StepFailure({
      ...failure,
      class: failure.class === 'needsResync' ? 'nonRecoverable' : failure.class,
      message: `${failure.message}; nothing was changed, and the VM keeps running at the primary site`,
      remedy,
    });
  }
}
