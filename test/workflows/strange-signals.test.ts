/** What anybody may type in the Temporal Web UI: signals that bring nothing, or nonsense, to whoever takes signals. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { hostWatchId } from '../../domain/ids.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.OperationRequest] });

const toEntity = [
  messages.hostNewsSignal,
  messages.vmMovedSignal,
  messages.requestJobSignal,
  messages.jobProgressedSignal,
  messages.jobEndedSignal,
];
const toJob = [messages.cancelJobSignal, messages.releaseTaskSignal, messages.retryJobSignal];
const toPlan = [messages.jobAnsweredSignal, messages.jobHeldSignal, messages.planJobEndedSignal];

/** Sends each signal without anything, with a text, and with an object that is none of its own. */
async function sendNonsense(workflowId: string, signals: readonly { readonly name: string }[]): Promise<void> {
  const handle = time.env.client.workflow.getHandle(workflowId);
  for (const { name } of signals) {
    await handle.signal(name);
    await handle.signal(name, 'nonsense');
    await handle.signal(name, { jobId: 7, vm: 'not a name!', result: { outcome: 'lost' }, stopped: 'yes' });
  }
}

it('entities, jobs, plan runs and watches drop nonsensical signals and continue', async () => {
  const { site, vault } = time.setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    await sendNonsense(entity.workflowId, toEntity);
    await sendNonsense(hostWatchId(vault.vault, vault.host), [messages.watchVmSignal]);
    const before = await vault.view('db-01');
    const { sequence } = await entity.executeUpdate(messages.syncUpdate, request());
    await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= sequence);
    // The watch still takes who joins it.
    const other = await vault.protect('db-02');
    site.host = { stopped: { 'db-02': { epoch: 2, cause: 'a test' } } };
    await vault.until(other, ({ item }) => item.resync?.cause === 'a test', 600_000);
    expect((await vault.view('db-01')).item).toMatchObject({ phase: before.item.phase, epoch: before.item.epoch });

    site.fail('checkFailoverTarget', 'InvalidReplicaState', 1);
    const plan = await vault.startPlan('strange', [{ name: 'all', vms: ['db-01'] }]);
    const { item } = await vault.until(entity, (view) => view.item.job?.retry !== undefined);
    await sendNonsense(item.job!.jobId, toJob);
    await sendNonsense(plan.workflowId, toPlan);
    await entity.executeUpdate(messages.retryUpdate, request());
    expect(await plan.result()).toMatchObject({ state: 'Succeeded' });
  });
});
