/**
 * Workflows outlive the code that began them: stored histories of every workflow replay against the code as it is, and
 * a workflow changed on purpose does not. `npm run histories` records them anew, for a change made behind `patched`.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { randomUUID } from 'node:crypto';
import { historyFromJSON, historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { WorkflowClient } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, test } from 'vitest';
import { hostWatchId } from '../../domain/ids.js';
import { jobKinds } from '../../domain/job.js';
import * as messages from '../../workflows/messages.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { addSearchAttributes } from '../../workers/search-attributes.js';
import { startTestDevServer } from '../support/dev-server.js';
import { createTimeSkippingEnvironment } from '../support/time-skipping.js';
import { SimulatedSite } from '../workflows/simulated-site.js';
import { TestVault } from '../workflows/test-vault.js';
import { workflowBundle } from '../workflows/workflow-worker.js';

const folder = fileURLToPath(new URL('histories/', import.meta.url));
/** How many histories there are of each workflow type: a corpus that is silently empty proves nothing. */
const expected: Record<string, number> = {
  // Of the newer ones each leaves its state with the server.
  runRecoveryPlan: 2,
  ...Object.fromEntries(jobKinds.map((kind) => [kind, 1])),
  hostWatch: 1,
  // One of them a run that another run continued as, one with an unplanned failover, one with its host watched, one of a
  // VM that moves, one that leaves its state with the server, one that waits for a person.
  protectVm: 7,
  plannedFailover: 2,
  verifyReplica: 2,
  initialReplication: 2,
  // The newer one compares while the replica is being digested.
  resynchronize: 2,
};

interface Stored {
  readonly type: string;
  readonly workflowId: string;
  readonly history: unknown;
}

async function stored(): Promise<Stored[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json')).toSorted();
  return Promise.all(files.map(async (name) => JSON.parse(await readFile(`${folder}${name}`, 'utf8')) as Stored));
}

/** Who recorded a history, and where, is nobody's business. */
const neutral = (key: string, value: unknown): unknown =>
  key === 'identity' ? 'recorder' : key === 'stackTrace' ? '' : value;

/** @returns what went wrong, by workflow id. */
async function replay(bundle: { code: string }, histories: readonly Stored[]): Promise<string[]> {
  const problems: string[] = [];
  const all = histories.map(({ workflowId, history }) => ({ workflowId, history: historyFromJSON(history) }));
  for await (const { workflowId, error } of Worker.runReplayHistories(
    { workflowBundle: bundle, replayName: 'stored' },
    all,
  )) {
    if (error) problems.push(`${workflowId}: ${error.name}: ${error.message}`);
  }
  return problems;
}

async function save(client: WorkflowClient, name: string, workflowId: string): Promise<void> {
  const handle = client.getHandle(workflowId);
  const { type } = await handle.describe();
  const history: unknown = JSON.parse(historyToJSON(await handle.fetchHistory()), neutral);
  await mkdir(folder, { recursive: true });
  await writeFile(`${folder}${name}.json`, JSON.stringify({ type, workflowId, history }));
}

describe.runIf(process.env['FARSHORE_RECORD_HISTORIES'])('recording', () => {
  test('histories of every workflow', { timeout: 240_000 }, async () => {
    const env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    const site = new SimulatedSite(() => env.currentTimeMs());
    const vault = new TestVault(env, site);
    const client = env.client.workflow;
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, { args: [{ requestId: randomUUID() }] });
      await vault.until(entity, ({ item }) => item.phase === 'Protected');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      site.fail('cutAndShip', 'StoreUnreachable', 3);
      await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= 3, 60_000);
      const plan = await vault.startPlan('recorded', [{ name: 'all', vms: ['db-01'] }]);
      await plan.result();
      const current = vault.entity('db-01');
      await current.executeUpdate(messages.jobUpdates.commitFailover, { args: [{ requestId: randomUUID() }] });
      const { item } = await vault.until(current, (view) => view.item.phase === 'Committed');
      for (const job of item.recentJobs) await save(client, job.kind, job.id);
      await save(client, 'run-recovery-plan', plan.workflowId);
      await save(client, 'protect-vm', entity.workflowId);
    });
    await env.teardown();
  });

  test('the history of an unplanned failover', { timeout: 240_000 }, async () => {
    const env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    const site = new SimulatedSite(() => env.currentTimeMs());
    const vault = new TestVault(env, site);
    await vault.run(async () => {
      const entity = await vault.protect('db-03');
      site.fail('shutDownVm', 'HypervisorUnreachable', 1);
      const parameters = { tryShutDown: true };
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, {
        args: [{ requestId: randomUUID(), parameters }],
      });
      await vault.until(entity, ({ item }) => item.phase === 'FailedOver' && item.sourceFence === undefined, 60_000);
      await save(env.client.workflow, 'unplannedFailover', jobId);
      await save(env.client.workflow, 'protect-vm-unplanned', entity.workflowId);
    });
    await env.teardown();
  });

  test('a history of a resynchronization', { timeout: 240_000 }, async () => {
    const env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    const vault = new TestVault(env, new SimulatedSite(() => env.currentTimeMs()));
    await vault.run(async () => {
      const entity = await vault.protect('db-03');
      const asked = { requestId: randomUUID(), now: true };
      const { jobId } = await entity.executeUpdate(messages.resynchronizeUpdate, { args: [asked] });
      await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId);
      await save(env.client.workflow, 'resynchronize-ahead', jobId!);
    });
    await env.teardown();
  });

  test(
    'histories of a VM whose host is watched, from its protection to the end of it',
    { timeout: 240_000 },
    async () => {
      const env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
      const site = new SimulatedSite(() => env.currentTimeMs());
      const vault = new TestVault(env, site);
      const client = env.client.workflow;
      await vault.run(async () => {
        const entity = await vault.protect('db-03');
        const failure = { code: 'HypervisorUnreachable', class: 'recoverable', message: 'm', remedy: 'r' } as const;
        site.host = { failure, stopped: {} };
        // A second VM makes the watch look at once.
        const other = await vault.protect('db-04');
        await vault.until(entity, ({ item }) => item.hostTrouble !== undefined);
        const ask = () => ({ args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] });
        await entity.executeUpdate(messages.pauseUpdate, ask());
        await entity.executeUpdate(messages.resumeUpdate, ask());
        const verified = await entity.executeUpdate(messages.jobUpdates.verifyReplica, ask());
        await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.kind === 'verifyReplica');
        const disabled = await entity.executeUpdate(messages.jobUpdates.disableProtection, ask());
        await entity.result();
        await other.executeUpdate(messages.jobUpdates.disableProtection, ask());
        await other.result();
        const watch = client.getHandle(hostWatchId(vault.vault, vault.host));
        await watch.result();
        await save(client, 'verifyReplica', verified.jobId);
        await save(client, 'disableProtection', disabled.jobId);
        await save(client, 'host-watch', watch.workflowId);
        await save(client, 'protect-vm-watched', entity.workflowId);
      });
      await env.teardown();
    },
  );

  test('histories of a VM that moves, between its cycles and within a job', { timeout: 240_000 }, async () => {
    const env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    const site = new SimulatedSite(() => env.currentTimeMs());
    const vault = new TestVault(env, site);
    await vault.run(async () => {
      const other = `other-${vault.vault}`;
      await vault.startAgent(other);
      const entity = await vault.protect('db-05');
      const ask = () => ({ args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] });
      site.moved.set('db-05', { host: other, tracking: { epoch: 1 } });
      site.fail('cutAndShip', 'VmNotFound', 1);
      await entity.executeUpdate(messages.syncUpdate, ask());
      await vault.until(entity, ({ item }) => item.host === other && item.retry === undefined);
      site.moved.set('db-05', { host: vault.host, tracking: { epoch: 1 } });
      site.fail('checkSource', 'VmNotFound', 1);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, ask());
      await vault.until(entity, ({ item }) => item.host === vault.host && item.recentJobs.at(-1)?.id === jobId);
      await save(env.client.workflow, 'verifyReplica-moved', jobId);
      await save(env.client.workflow, 'protect-vm-moved', entity.workflowId);
    });
    await env.teardown();
  });

  test('histories of what leaves its state with the server', { timeout: 240_000 }, async () => {
    const env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    const vault = new TestVault(env, new SimulatedSite(() => env.currentTimeMs()));
    await vault.run(async () => {
      const entity = await vault.protect('db-06');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      const plan = await vault.startPlan('recorded', [{ name: 'all', vms: ['db-06'] }]);
      const { machines } = await plan.result();
      await vault.until(entity, ({ item }) => item.phase === 'FailedOver' && item.job === undefined);
      await save(env.client.workflow, 'plannedFailover-state', machines[0]!.jobId!);
      await save(env.client.workflow, 'run-recovery-plan-state', plan.workflowId);
      await save(env.client.workflow, 'protect-vm-state', entity.workflowId);
    });
    await env.teardown();
  });

  test('the history of a VM that waits for a person, and is retried', { timeout: 240_000 }, async () => {
    const env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    const site = new SimulatedSite(() => env.currentTimeMs());
    const vault = new TestVault(env, site);
    await vault.run(async () => {
      const entity = await vault.protect('db-07');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      site.fail('cutAndShip', 'DiskMissing');
      await vault.until(entity, ({ item }) => item.retry !== undefined, 60_000);
      site.heal('cutAndShip');
      await entity.executeUpdate(messages.retryUpdate, { args: [{ requestId: randomUUID() }] });
      await vault.until(entity, ({ item }) => item.applied?.sequence === 3);
      await save(env.client.workflow, 'protect-vm-waiting', entity.workflowId);
    });
    await env.teardown();
  });

  test('histories of runs that others continued as', { timeout: 240_000 }, async () => {
    const server = await startTestDevServer();
    const env = await TestWorkflowEnvironment.createFromExistingServer({
      address: server.address,
      namespace: server.namespace,
    });
    await addSearchAttributes(env.connection, server.namespace, searchAttributeTypes);
    const site = new SimulatedSite();
    const vault = new TestVault(env, site, { continueAsNewAfterEvents: 40 });
    const client = env.client.workflow;
    await vault.run(async () => {
      const entity = await vault.protect('db-02', 200);
      const { item } = await vault.view('db-02');
      await save(client, 'initialReplication-continued', item.recentJobs[1]!.id);
      const isContinued = async () =>
        (await client.getHandle(entity.workflowId).describe()).runId !== entity.firstExecutionRunId;
      while (!(await isContinued()) || (await vault.view('db-02')).item.applied!.sequence < 12) {
        await vault.entity('db-02').executeUpdate(messages.syncUpdate, { args: [{ requestId: randomUUID() }] });
        await env.sleep(200);
      }
      await save(client, 'protect-vm-continued', entity.workflowId);
    });
    await env.teardown();
    await server.stop();
  });
});

describe.skipIf(process.env['FARSHORE_RECORD_HISTORIES'])('stored histories', () => {
  let bundle: { code: string };
  let histories: Stored[];
  beforeAll(async () => {
    bundle = await workflowBundle();
    histories = await stored();
  });

  test('are there for every workflow', () => {
    const counts: Record<string, number> = {};
    for (const { type } of histories) counts[type] = (counts[type] ?? 0) + 1;
    expect(counts).toEqual(expected);
  });

  test('are of continued runs too', () => {
    const continued = histories.filter(({ history }) => JSON.stringify(history).includes('continuedExecutionRunId"'));
    expect(continued.map(({ type }) => type).toSorted()).toEqual(['initialReplication', 'protectVm']);
  });

  test('replay', async () => {
    expect(await replay(bundle, histories)).toEqual([]);
  });

  test('do not replay when a workflow was changed', async () => {
    if (!('code' in bundle)) throw new Error('a bundle with its code is needed');
    // As a careless change would: the source is fenced only after the replica VM was made.
    const changed = bundle.code.replaceAll('run.provider.fenceVm(', 'run.provider.startVm(');
    expect(changed).not.toBe(bundle.code);
    const problems = await replay({ code: changed }, histories);
    expect(problems.map((problem) => problem.split(':')[0])).toEqual(
      histories.filter(({ type }) => type === 'plannedFailover').map(({ workflowId }) => workflowId),
    );
    expect(problems[0]).toContain('Determinism');
  });
});
