import { expect, it } from 'vitest';
import { vaultBoardId } from '../../domain/ids.js';
import type { showVault } from '../../workflows/show-vault.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();

it('the board of a vault adds events to the history only when it changes', { timeout: 180_000 }, async () => {
  const { site, vault } = time.setUp();
  const { workflow } = time.env.client;
  await vault.run(async () => {
    const board = await workflow.start<typeof showVault>('showVault', {
      ...{ workflowId: vaultBoardId(vault.vault), taskQueue: vault.workflowQueue },
      args: [{ vault: vault.vault, tuning: { continueAsNewAfterEvents: 40 } }],
    });
    const history = async () => (await workflow.getHandle(board.workflowId).fetchHistory()).events!;
    const looks = () => site.called('watchVault').length;
    await vault.pass(30);
    expect(looks()).toBeGreaterThan(20);
    const events = (await history()).length;
    await vault.pass(30);
    expect((await history()).length).toBe(events);
    // Each change is shown, as often as once a minute, in runs that stay short.
    for (let change = 1; change <= 12; change += 1) {
      site.board = `change ${change}`;
      await vault.pass(3);
    }
    expect(site.called('watchVault').at(-1)?.input).toEqual({ known: 'change 12' });
    expect((await history()).length).toBeLessThan(60);
    const { runId } = await workflow.getHandle(board.workflowId).describe();
    expect(runId).not.toBe(board.firstExecutionRunId);
    await workflow.getHandle(board.workflowId).terminate();
  });
});
