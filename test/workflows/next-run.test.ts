/** What goes from one run to the next: state that this code does not know, and the limit of this code; and when it is asked for. */
import { defaultPayloadConverter } from '@temporalio/common';
import type { WorkflowHandle } from '@temporalio/client';
import { expect, it } from 'vitest';
import { hostWatchId } from '../../domain/ids.js';
import { STATE_VERSION } from '../../domain/state-version.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const later = '2030-01-01T00:00:00.000Z';

/** What the run under way was started with. */
async function inputOf<I>(handle: WorkflowHandle): Promise<I> {
  const { events } = await handle.fetchHistory();
  return defaultPayloadConverter.fromPayload(events![0]!.workflowExecutionStartedEventAttributes!.input!.payloads![0]!);
}
const runOf = async (handle: WorkflowHandle) => (await handle.describe()).runId;

/** Tells it to, as an operator does, and waits until another run goes on. */
async function continues(handle: WorkflowHandle): Promise<void> {
  const before = await runOf(handle);
  await handle.signal('continueAsNew');
  await expect.poll(() => runOf(handle), { timeout: 30_000 }).not.toBe(before);
}

it('an idle entity continues as new on request, and so does the watch over its host', async () => {
  const { vault } = time.setUp();
  await vault.run(async () => {
    await vault.protect('db-01');
    const entity = vault.entity('db-01');
    const { client } = time.env;
    const { item } = await vault.until(entity, (view) => view.item.applied?.sequence === 2);
    await continues(entity);
    const input = await inputOf<messages.ProtectVmInput>(entity);
    expect(input.item).toMatchObject({ phase: 'Protected', applied: item.applied, recentJobs: item.recentJobs });
    // The limit of the code that begins a run goes with it.
    expect(input.tuning?.historyLimit).toEqual(expect.any(Number));
    await vault.until(entity, (view) => view.item.applied?.sequence === 3);

    const watch = client.workflow.getHandle(hostWatchId(vault.vault, vault.host));
    await continues(watch);
    expect(await inputOf(watch)).toMatchObject({ vms: ['db-01'], tuning: { historyLimit: expect.any(Number) } });
  });
});

it('fields that a newer version has left in a state survive the runs of this one', async () => {
  const { vault } = time.setUp();
  await vault.run(async () => {
    const { policy, host } = await vault.startEntity('db-02').then((of) => inputOf<messages.ProtectVmInput>(of));
    const newer = {
      stateVersion: STATE_VERSION + 1,
      newer: { than: 'this code' },
      policy: { ...policy, newer: 'of the policy' },
      phase: 'Protected',
      epoch: 1,
      cycleDueAt: later,
    } as const;
    await vault.startEntity('db-03', newer);
    const entity = vault.entity('db-03');
    await continues(entity);
    expect((await inputOf<messages.ProtectVmInput>(entity)).item).toMatchObject({ ...newer, host });
    // Nor is it in the way of what is asked.
    await entity.executeUpdate(messages.pauseUpdate, { args: [{ requestId: 'pause' }] });
    await continues(entity);
    expect((await inputOf<messages.ProtectVmInput>(entity)).item).toMatchObject({ ...newer, paused: {} });
  });
});
