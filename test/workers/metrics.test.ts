/** What the workers of a running instance tell Prometheus is what the entity and the store say. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toMs } from '../../domain/time.js';
import { SmallSite, VM } from '../faults/small-site.js';
import { dashboardQueries, dashboardVariables, Metrics, metricsOf, rules } from '../support/monitoring.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const PATIENCE_MS = 60_000;
const ofVm = { vault: 'vault-01', vm: VM };

let folder: string;
let site: SmallSite;
let metrics: Readonly<Record<string, string>>;

const ask = (worker: string) => Metrics.of(metrics[worker]!);
const azure = () => ask('azure-vault-01');
const agent = () => ask('host-hyperv-01');

/** Asks until an answer fits. */
async function until(asked: () => Promise<Metrics>, fits: (found: Metrics) => boolean): Promise<Metrics> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await asked().catch(() => undefined);
    if (found && fits(found)) return found;
    if (performance.now() > deadline) throw new Error(`not told: ${JSON.stringify(found?.all('farshore_vm_info'))}`);
    await sleep(200);
  }
}

/** What the Azure worker tells after it has read a cycle of this seal time. */
const azureSince = (sealedAt: string) =>
  until(azure, (found) => found.value('farshore_last_cycle_sealed_timestamp_seconds', ofVm) === toMs(sealedAt) / 1000);

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'farshore-test-'));
  process.env['FARSHORE_LOG_LEVEL'] = 'debug';
  site = await SmallSite.start(folder, '.', { metrics: true });
  delete process.env['FARSHORE_LOG_LEVEL'];
  metrics = site.running.instance.metrics!;
  await site.farshore.protect(VM);
  await site.until(({ item }) => item.phase === 'Protected' && item.applied?.sequence === 2);
});

afterAll(async () => {
  delete process.env['FARSHORE_LOG_LEVEL'];
  await site.stop();
  await rm(folder, { recursive: true, force: true });
});

test('every worker has its own metrics address, which the data folder contains', async () => {
  expect((await site.data.readInstance())?.metrics).toEqual(metrics);
  expect(Object.keys(metrics).toSorted()).toEqual(['azure-vault-01', 'host-hyperv-01', 'vmm-vmm-01']);
  for (const [worker, role] of Object.entries({
    'azure-vault-01': 'azure',
    'host-hyperv-01': 'host',
    'vmm-vmm-01': 'vmm',
  })) {
    const found = await ask(worker);
    expect(found.all('farshore_worker_info').map(({ labels }) => labels)).toMatchObject([{ role, vault: 'vault-01' }]);
    expect(found.value('temporal_worker_start_total')).toBe(1);
  }
  const elsewhere = metrics['azure-vault-01']!.replace('/metrics', '/');
  expect((await fetch(elsewhere)).status).toBe(404);
});

test('metrics of a cycle', async () => {
  const cycles = (found: Metrics) => found.value('farshore_cycles_total', ofVm) ?? 0;
  const sent = (found: Metrics, kind: string) => found.value('farshore_shipped_bytes_total', { ...ofVm, kind }) ?? 0;
  const [azureBefore, agentBefore] = [await azure(), await agent()];
  const { item: itemBefore } = (await site.farshore.protectedItem(VM))!;
  await site.write(192 * KiB, 8 * MiB);
  const { item } = await site.syncNow();
  const [azureAfter, agentAfter] = [await azureSince(item.applied!.sealedAt), await agent()];
  expect(item.applied?.bytes).toBe(192 * KiB);
  expect(sent(agentAfter, 'cycle') - sent(agentBefore, 'cycle')).toBe(item.applied?.bytes);
  expect(cycles(azureAfter) - cycles(azureBefore)).toBe(item.applied!.sequence - itemBefore.applied!.sequence);
  expect(azureAfter.value('farshore_cycles_missed_total', ofVm)).toBe(
    item.cycleHistory.filter((onTime) => !onTime).length,
  );
  const initial = item.recentJobs.find(({ kind }) => kind === 'initialReplication')!;
  const { progress } = await site.farshore.job(initial.id);
  expect(sent(agentAfter, 'copy')).toBe(progress?.bytesSent);
  expect(sent(agentAfter, 'copy')).toBe(8 * MiB);
  const labels = agentAfter.all('farshore_shipped_bytes_total').map((sample) => Object.keys(sample.labels).toSorted());
  expect(labels).toEqual([
    ['host', 'kind', 'vault', 'vm'],
    ['host', 'kind', 'vault', 'vm'],
  ]);
});

test('the state of the VM at the instant of the request', async () => {
  const before = (await site.syncNow())!;
  await azureSince(before.item.applied!.sealedAt);
  const between = (await site.farshore.protectedItem(VM))!;
  const points = (await readdir(path.join(folder, 'store', 'vms', VM, 'points'))).length;
  const found = await until(azure, (told) => told.value('farshore_recovery_points', ofVm) === points);
  const after = (await site.farshore.protectedItem(VM))!;
  expect(points).toBeGreaterThan(0);
  const rpo = found.value('farshore_rpo_seconds', ofVm)!;
  expect(rpo).toBeGreaterThanOrEqual(between.rpoSeconds!);
  expect(rpo).toBeLessThanOrEqual(after.rpoSeconds!);
  expect({ health: after.health, is: found.value('farshore_replication_health', ofVm) }).toEqual({
    health: 'Normal',
    is: 0,
  });
  expect(found.value('farshore_latest_recovery_point_timestamp_seconds', ofVm)).toBe(
    toMs(after.item.latestRecoveryPoint!.time) / 1000,
  );
  expect(found.value('farshore_copy_frequency_seconds', ofVm)).toBe(900);
  expect(found.value('farshore_unattended_replicas')).toBe(0);
  expect(found.all('farshore_vm_info', { ...ofVm, phase: 'Protected', active_side: 'primary' })).toHaveLength(1);
});

test('jobs: their outcomes and durations, and that none is running', async () => {
  const { item } = (await site.farshore.protectedItem(VM))!;
  const found = await azure();
  expect(item.recentJobs.length).toBeGreaterThanOrEqual(3);
  for (const { id, kind } of item.recentJobs) {
    const { startedAt, endedAt } = await site.farshore.job(id);
    const labels = { kind, outcome: 'succeeded' };
    expect(found.value('farshore_jobs_total', { ...ofVm, ...labels })).toBe(1);
    expect(found.value('farshore_jobs_total', { ...ofVm, kind, outcome: 'failed' })).toBe(0);
    expect(found.value('farshore_job_duration_seconds_count', labels)).toBe(1);
    const seconds = (toMs(endedAt!) - toMs(startedAt)) / 1000;
    expect(found.value('farshore_job_duration_seconds_sum', labels)).toBeCloseTo(seconds, 3);
  }
  const running = found.all('farshore_running_jobs');
  expect(running.length).toBeGreaterThan(0);
  expect(running.filter(({ value }) => value !== 0)).toEqual([]);
});

describe('the examples', () => {
  test('use only metrics that the workers serve', async () => {
    const told = (await Promise.all(Object.keys(metrics).map(ask))).flatMap((found) => found.names());
    const all = await rules();
    const recorded = all.flatMap(({ record }) => (record === undefined ? [] : [record]));
    const queries = [...all.map(({ expr }) => expr), ...(await dashboardQueries()), ...(await dashboardVariables())];
    const named = new Set(queries.flatMap(metricsOf));
    expect(named.size).toBeGreaterThan(15);
    // Of Prometheus itself.
    const known = new Set([...told, ...recorded, 'up']);
    expect([...named].filter((name) => !known.has(name))).toEqual([]);
  });

  test('docs/metrics.md lists every metric of ours, with its type', async () => {
    const types = new Map(
      (await Promise.all(Object.keys(metrics).map(ask)))
        .flatMap((found) => [...found.types])
        .filter(([name]) => name.startsWith('farshore_')),
    );
    const rows = (await readFile('docs/metrics.md', 'utf8')).matchAll(/^\| `(farshore_\w+)` \| (\w+) \|/gm);
    expect(Object.fromEntries([...rows].map(([, name, type]) => [name!, type!]))).toEqual(Object.fromEntries(types));
  });
});

test("every line of the workers' logs that names a VM's workflow names the VM, and the job", async () => {
  const lines = await Promise.all(
    Object.keys(metrics).map(async (worker) => (await readFile(site.data.log(worker), 'utf8')).trim().split('\n')),
  );
  const logged = lines.flat().map((line) => JSON.parse(line) as Record<string, unknown>);
  const of = logged.filter(({ workflowId }) => typeof workflowId === 'string' && /^(vm|job)\//.test(workflowId));
  expect(of.length).toBeGreaterThan(20);
  for (const line of of) {
    const job = String(line['workflowId']).startsWith('job/') ? line['workflowId'] : undefined;
    expect([line['vault'], line['vm'], line['job']], JSON.stringify(line)).toEqual(['vault-01', VM, job]);
  }
  const completed = (activity: string) =>
    of.filter(({ activityType, msg }) => activityType === activity && msg === 'Activity completed');
  expect(completed('cutAndShip').map(({ epoch, sequence, host }) => ({ epoch, sequence, host }))).toContainEqual({
    ...{ epoch: 1, sequence: 2, host: 'hyperv-01' },
  });
  expect(completed('applyCycle').map(({ epoch, sequence }) => ({ epoch, sequence }))).toContainEqual({
    ...{ epoch: 1, sequence: 2 },
  });
  const entity = of.find(({ msg, to }) => msg === 'Phase changed' && to === 'Protected');
  expect(entity).toMatchObject({ host: 'hyperv-01', epoch: 1, sequence: 2 });
});

test('a restarted worker serves the same metrics at the same address', async () => {
  const { item } = await site.syncNow();
  await azureSince(item.applied!.sealedAt);
  await site.killAndReturn('azure-vault-01');
  const found = await azureSince(item.applied!.sealedAt);
  // Counted anew, as Prometheus expects it; not counted again for what is replayed.
  expect(found.value('farshore_cycles_total', ofVm)).toBeUndefined();
  const { item: later } = await site.syncNow();
  const after = await azureSince(later.applied!.sealedAt);
  expect(after.value('farshore_cycles_total', ofVm)).toBe(later.applied!.sequence - item.applied!.sequence);
});

test('a VM that is no longer protected is not reported', async () => {
  const { jobId } = await site.farshore.startJob(VM, 'disableProtection');
  expect((await site.farshore.followJob(jobId)).state).toBe('Succeeded');
  const found = await until(azure, (told) => told.all('farshore_vm_info').length === 0);
  const states = ['replication_health', 'rpo_seconds', 'last_cycle_sealed_timestamp_seconds', 'recovery_points'];
  expect(states.flatMap((name) => found.all(`farshore_${name}`))).toEqual([]);
  expect(found.value('farshore_jobs_total', { ...ofVm, kind: 'disableProtection', outcome: 'succeeded' })).toBe(1);
});
