import { ApplicationFailureCategory } from '@temporalio/common';
import { expect, test } from 'vitest';
import { createVaultActivities } from '../../activities/watch-vault.js';
import type { Heard } from '../../domain/board.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { toIso } from '../../domain/time.js';
import { newItem } from '../domain/random-life.js';

const item = (changes: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newItem(),
  phase: 'Protected',
  shipped: { sequence: 1, sealedAt: toIso(Date.now()), bytes: 0 },
  ...changes,
});

const heard = (of: ProtectedItem): Heard => ({
  ...{ vault: 'v1', siteVms: [of.vm], items: new Map([[of.vm, of]]), jobs: [], planRuns: [] },
});

test('a look at the vault returns only a changed board, and otherwise fails in order to be called again', async () => {
  let now = heard(item());
  const { watchVault } = createVaultActivities(() => Promise.resolve(now));
  const first = await watchVault({});
  expect(first.text).toContain('# Vault v1: Normal');
  // A cycle later it is as well as before: an answer would be an event of the history.
  now = heard(item({ shipped: { sequence: 2, sealedAt: toIso(Date.now()), bytes: 4096 } }));
  await expect(watchVault({ known: first.digest })).rejects.toMatchObject({
    ...{ type: 'Unchanged', nonRetryable: false, category: ApplicationFailureCategory.BENIGN },
  });
  now = heard(item({ paused: { since: toIso(Date.now()) } }));
  const second = await watchVault({ known: first.digest });
  expect(second.text).toContain('farshore resume');
  expect(second.digest).not.toBe(first.digest);
});

test('a vault that cannot be read is looked at again, and its board stays', async () => {
  const { watchVault } = createVaultActivities(() => Promise.reject(new Error('Temporal does not answer')));
  await expect(watchVault({ known: 'before' })).rejects.toThrow('does not answer');
});
