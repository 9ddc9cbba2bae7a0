/**
 * Shows the board of a vault as its current details, id `vault/<vault>`: one page that can be bookmarked. The Azure
 * worker starts it, and it never ends.
 *
 * The activity returns only a board with news (see `watchVault`), at the earliest a minute after the last look, so a
 * healthy vault adds no events to the history. Restart: the board is carried over.
 */
import { continueAsNew, log, proxyActivities, sleep } from '@temporalio/workflow';
import type { VaultActivities } from '../activities/watch-vault.js';
import { taskQueues } from '../domain/ids.js';
import { now } from './clock.js';
import { inputOfNextRun, limitHistory, shouldContinueAsNew } from './history-limit.js';
import { showVaultInputSchema, type ShowVaultInput } from './messages.js';
import { showDetails } from './show-details.js';
import { neverFailing, startInput } from './start-input.js';
import { uncancelled } from './uncancelled.js';

const LOOK_EVERY = '1 minute';

const watching = (vault: string) =>
  proxyActivities<VaultActivities>({
    taskQueue: taskQueues.azure(vault),
    startToCloseTimeout: '30 seconds',
    retry: { initialInterval: LOOK_EVERY, backoffCoefficient: 1, maximumInterval: LOOK_EVERY },
    summary: `Look at vault ${vault}`,
  });

export async function showVault(raw: ShowVaultInput): Promise<void> {
  const input = startInput(showVaultInputSchema, raw, raw?.shown);
  return uncancelled(() => neverFailing(() => show(input)));
}

async function show(input: ShowVaultInput): Promise<never> {
  const { vault, shown, tuning } = input;
  limitHistory(tuning);
  let board = shown;
  publish(vault, board);
  while (!shouldContinueAsNew()) {
    try {
      const { text, digest } = await watching(vault).watchVault(board ? { known: board.digest } : {});
      board = { text, digest, since: now() };
      publish(vault, board);
    } catch (error) {
      log.warn('The state of the vault could not be read', { error });
    }
    // A board that changes at every look is still shown once a minute.
    await sleep(LOOK_EVERY, { summary: 'Wait for the next look at the vault' });
  }
  return continueAsNew<typeof showVault>({ ...inputOfNextRun(input), ...(board && { shown: board }) });
}

function publish(vault: string, board: ShowVaultInput['shown']): void {
  const rhythm = 'This page is updated once a minute.';
  showDetails(
    board ? [board.text, '', `*Unchanged since ${board.since}. ${rhythm}*`] : [`# Vault ${vault}`, '', rhythm],
  );
}
