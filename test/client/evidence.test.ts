/** What the vault keeps of a test VM is written to a folder, and nothing else is taken for it. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { saveEvidence } from '../../client/commands/evidence.js';
import type { TestFailoverResult } from '../../domain/drill.js';
import { newJob } from '../../domain/jobs/job-record.js';
import { vaultPaths } from '../../domain/vault.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { openStore } from '../replication/replica-fixture.js';

const AT = '2026-03-01T12:00:00.000Z';
const NAME = vaultPaths.evidence('db-01', '20260301T120000Z', 'console.log');
const FENCE = { scope: 'jobs', epoch: 0, sequence: 0 };
const data = Buffer.from('login:');

async function kept() {
  const { store, folder } = await openStore();
  await store.objects.put(NAME, data, FENCE);
  const result: TestFailoverResult = {
    ...{ testVm: 'db-01-test', network: 'db-01-test', recoveryPoint: { id: '0001-00000001', time: AT } },
    ...{ booted: true, passed: true, startedAt: AT, seconds: 1, checks: [] },
    evidence: [{ name: NAME, bytes: data.length, sha256: createHash('sha256').update(data).digest('hex') }],
  };
  const job = newJob('testFailover', 'job/v/db-01/test-failover/20260301T120000Z', 'v', 'db-01', AT);
  const target = path.join(await temporaryFolder(), 'evidence');
  const save = (of: object = { result }) => saveEvidence({ kind: 'embedded', path: folder }, { ...job, ...of }, target);
  return { store, target, save };
}

test('the files that were kept are written once', async () => {
  const { target, save } = await kept();
  expect(await save()).toEqual([path.join(target, 'console.log')]);
  expect((await readFile(path.join(target, 'console.log'))).equals(data)).toBe(true);
  await expect(save()).rejects.toThrow(/console\.log cannot be written: EEXIST/);
});

test('what was changed, or is missing, is refused', async () => {
  const { store, save } = await kept();
  await store.objects.put(NAME, Buffer.from('logon:'), FENCE);
  await expect(save()).rejects.toThrow(/was changed after the test/);
  await store.objects.delete(NAME, FENCE);
  await expect(save()).rejects.toThrow(/is missing in the store/);
});

test('a job without any is refused', async () => {
  const { save } = await kept();
  await expect(save({})).rejects.toThrow(/there is no console or screen to save/);
});
