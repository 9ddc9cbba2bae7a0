/** Checks the guest of a test VM, and keeps what its console and screen show. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CatalogueError } from '../domain/errors.js';
import { guestText } from '../domain/guest.js';
import { checkText, limitOf, type CheckResult, type Evidence, type TestCheck } from '../domain/test-checks.js';
import { vaultPaths } from '../domain/vault.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import type { RunInGuest } from '../ports/test-vms.js';
import type { Beating } from './heartbeat.js';

const AGAIN_MS = 2_000;
/** As much of a program's output as a result repeats, characters. */
const OUTPUT_SHOWN = 200;

export interface Checked {
  readonly booted: boolean;
  /** Whether it has booted and passed every check. */
  readonly passed: boolean;
  /** Why it has not passed. */
  readonly problem?: string;
  readonly checks: CheckResult[];
  readonly evidence: Evidence[];
}

export interface CheckTask {
  readonly vm: string;
  readonly testVm: string;
  readonly jobId: string;
  readonly checks: readonly TestCheck[];
}

export async function checkTestVm(
  store: ReplicaStore,
  compute: RecoveryCompute,
  { vm, testVm, jobId, checks }: CheckTask,
  { signal, alive }: Pick<Beating, 'signal' | 'alive'>,
): Promise<Checked> {
  const unbooted = await whyNotBooted(compute, testVm);
  if (unbooted !== undefined) {
    const evidence = await keep(store, compute, vm, testVm, jobId);
    return { booted: false, passed: false, problem: unbooted, checks: [], evidence };
  }
  const results: CheckResult[] = [];
  for (const check of checks) {
    results.push(await run(compute, testVm, check, signal));
    alive();
  }
  const evidence = await keep(store, compute, vm, testVm, jobId);
  const failed = results.filter(({ passed }) => !passed).map((result) => `${result.check}: ${result.problem}`);
  if ((await whyNotBooted(compute, testVm)) !== undefined) failed.push('the guest has ended during the checks');
  const problem = failed.join('; ');
  return { booted: true, passed: failed.length === 0, ...(problem && { problem }), checks: results, evidence };
}

/** Undefined if the guest is booted. @throws CatalogueError VmNotFound */
async function whyNotBooted(compute: RecoveryCompute, testVm: string): Promise<string | undefined> {
  const found = (await compute.listTestVms()).find(({ name }) => name === testVm);
  if (!found) throw new CatalogueError('VmNotFound', `the test VM ${testVm}`);
  if (found.state === 'Off') return 'not booted: it is off';
  return found.guest?.booted ? undefined : guestText(found.guest);
}

/** Tries a check until it succeeds or its time is over. */
async function run(
  compute: RecoveryCompute,
  testVm: string,
  check: TestCheck,
  signal: AbortSignal,
): Promise<CheckResult> {
  const began = performance.now();
  const limitMs = limitOf(check) * 1000;
  const elapsed = () => performance.now() - began;
  for (let tries = 1; ; tries += 1) {
    const problem = await problemOf(compute, testVm, check, Math.max(1, Math.round(limitMs - elapsed())));
    const result = { check: checkText(check), tries, seconds: Math.round(elapsed() / 1000) };
    if (problem === undefined) return { ...result, passed: true };
    if (elapsed() + AGAIN_MS >= limitMs) return { ...result, passed: false, problem };
    await sleep(AGAIN_MS, undefined, { signal });
  }
}

async function problemOf(
  compute: RecoveryCompute,
  testVm: string,
  check: TestCheck,
  leftMs: number,
): Promise<string | undefined> {
  if (check.console !== undefined) {
    const console = (await compute.readTestConsole(testVm)).toString('utf8');
    return new RegExp(check.console, 'm').test(console) ? undefined : 'the console does not show it';
  }
  const ran: RunInGuest = await compute.runInTestVm(testVm, check.command ?? [], leftMs);
  if ('problem' in ran) return ran.problem;
  if (ran.exitCode === 0) return undefined;
  const output = ran.output === '' ? '' : `: ${ran.output.slice(-OUTPUT_SHOWN)}`;
  return `ended with exit code ${ran.exitCode}${output}`;
}

async function keep(
  store: ReplicaStore,
  compute: RecoveryCompute,
  vm: string,
  testVm: string,
  jobId: string,
): Promise<Evidence[]> {
  const files = {
    'console.log': await compute.readTestConsole(testVm),
    // A guest may end, or have no screen; the other results are not lost with it.
    'screen.png': await compute.readTestScreen(testVm).catch(() => undefined),
  };
  const kept: Evidence[] = [];
  for (const [file, data] of Object.entries(files)) {
    if (!data || data.length === 0) continue;
    const name = vaultPaths.evidence(vm, jobId.split('/').at(-1)!, file);
    await store.objects.put(name, data, { scope: 'jobs', epoch: 0, sequence: 0 });
    kept.push({ name, bytes: data.length, sha256: createHash('sha256').update(data).digest('hex') });
  }
  return kept;
}
