/** The checks of a test VM whose guest does what a test wants; a guest that really boots is in `booted-drill.test.ts`. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { checkTestVm } from '../../activities/test-checks.js';
import { testCheckSchema } from '../../domain/test-checks.js';
import type { RecoveryCompute } from '../../ports/recovery-compute.js';
import type { RunInGuest, TestVm } from '../../ports/test-vms.js';
import { openStore } from '../replication/replica-fixture.js';

const VM = 'db-01';
const TEST_VM = 'db-01-test';
const beat = { signal: new AbortController().signal, alive: () => undefined };

interface Guest {
  readonly booted?: boolean;
  /** It shuts itself down as soon as its console is read. */
  readonly ends?: boolean;
  /** What the console shows at each look; the last one stays. */
  readonly console?: readonly string[];
  readonly ran?: readonly RunInGuest[];
  readonly screen?: Buffer;
}

async function checked(
  { booted = true, ends = false, console = [''], ran = [], screen }: Guest,
  checks: readonly object[],
) {
  let [looks, runs] = [0, 0];
  const vm: TestVm = {
    ...{ name: TEST_VM, testOf: VM, state: 'Running', fencing: 'enforced', disks: [] },
    guest: booted ? { booted } : { booted, problem: 'no firmware' },
  };
  const compute: Partial<RecoveryCompute> = {
    listTestVms: async () => [ends && looks > 0 ? { ...vm, state: 'Off', guest: { booted: false } } : vm],
    readTestConsole: async () => Buffer.from(console[Math.min(looks++, console.length - 1)]!),
    readTestScreen: async () => screen,
    runInTestVm: async () => ran[Math.min(runs++, ran.length - 1)]!,
  };
  const { store } = await openStore();
  const task = { vm: VM, testVm: TEST_VM, jobId: 'job/v/db-01/test-failover/20260301T120000Z' };
  const parsed = checks.map((check) => testCheckSchema.parse(check));
  const found = await checkTestVm(store, compute as RecoveryCompute, { ...task, checks: parsed }, beat);
  return { found, store };
}

test('a guest that passes every check has passed, and its console and screen are kept', async () => {
  const screen = Buffer.from('PNG');
  const { found, store } = await checked(
    {
      console: ['booting', 'booting\nlogin:'],
      ran: [{ problem: 'no agent yet' }, { exitCode: 0, output: '' }],
      screen,
    },
    [{ console: '^login:' }, { command: ['true'] }],
  );
  expect(found).toMatchObject({ booted: true, passed: true });
  expect(found.checks.map(({ check, passed, tries }) => [check, passed, tries])).toEqual([
    ['console: ^login:', true, 2],
    ['true', true, 2],
  ]);
  expect(found.evidence.map(({ name }) => name)).toEqual(
    ['console.log', 'screen.png'].map((file) => `jobs/evidence/db-01/20260301T120000Z/${file}`),
  );
  for (const { name, bytes, sha256 } of found.evidence) {
    const kept = (await store.objects.get(name))!;
    expect([kept.length, createHash('sha256').update(kept).digest('hex')]).toEqual([bytes, sha256]);
  }
});

test('a check that fails says why, and the others are done all the same', async () => {
  const { found } = await checked({ console: ['kernel panic'], ran: [{ exitCode: 1, output: 'inactive' }] }, [
    { console: 'login:', within: '1s' },
    { command: ['systemctl', 'is-active', 'x'], within: '1s' },
    { console: 'panic' },
  ]);
  expect(found).toMatchObject({
    booted: true,
    passed: false,
    problem: 'console: login:: the console does not show it; systemctl is-active x: ended with exit code 1: inactive',
  });
  expect(found.checks.map(({ passed }) => passed)).toEqual([false, false, true]);
});

test('a guest that is not booted is not checked, and has not passed', async () => {
  const { found } = await checked({ booted: false }, [{ console: '.*' }]);
  expect(found).toEqual({
    ...{ booted: false, passed: false, problem: 'not booted: no firmware', checks: [], evidence: [] },
  });
});

test('a guest that ends during its checks has not passed', async () => {
  const { found } = await checked({ ends: true, console: ['login:'] }, [{ console: 'login:' }]);
  expect(found).toMatchObject({ booted: true, passed: false, problem: 'the guest has ended during the checks' });
  expect(found.checks).toMatchObject([{ passed: true }]);
});
