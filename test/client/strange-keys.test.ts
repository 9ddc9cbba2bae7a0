/**
 * What is asked of workers that can't answer: those of other keys, those that are away for a while, and those that can't
 * get on. Commands reach Temporal as on a machine of an administrator, without the instance's own files.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { taskQueues } from '../../domain/ids.js';
import { clientDataConverter } from '../../temporal/encryption/data-converter.js';
import { KeyRing } from '../../temporal/encryption/key-ring.js';
import { SmallSite, VM } from '../faults/small-site.js';
import { newKey, writeKeyFile } from '../support/key-files.js';
import { Shell } from './command.js';

interface Said {
  readonly check: string;
  readonly status: string;
  readonly message: string;
  readonly remedy?: string;
}

const SOON = { timeout: 60_000, interval: 500 };

let folder: string;
let site: SmallSite;
let keyFile: string;
let shell: Shell;
let withKeys: Shell;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'farshore-strange-'));
  await mkdir(path.join(folder, 'source'));
  site = await SmallSite.start(folder, 'source', { diskBytes: 8 * 1024 * 1024, dataBytes: 1024 * 1024 });
  keyFile = path.join(folder, 'keys.yaml');
  await writeKeyFile(keyFile, 'a', { a: newKey() });
  const { address, namespace } = site.running.instance.temporal;
  const env = { TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace };
  shell = new Shell(folder, env);
  withKeys = new Shell(folder, { ...env, FARSHORE_ENCRYPTION_KEYS: keyFile });
  await shell.write('plan.yaml', `name: all\ngroups:\n  - name: only\n    vms: [${VM}]\n`);
  await site.farshore.protect(VM);
  await site.until(({ item }) => item.phase === 'Protected' && item.job === undefined && item.applied !== undefined);
});
afterAll(async () => {
  await site.stop();
  await rm(folder, { recursive: true, force: true });
});

async function doctor(of: Shell, check: string): Promise<Said[]> {
  const { value } = await of.json('doctor');
  return (value as { checks: Said[] }).checks.filter((said) => said.check === check);
}

test('keys that the workers lack are not used for requests that they would have to read', async () => {
  for (const args of [
    ['sync', VM],
    ['pause', VM],
    ['plan', 'run', 'plan.yaml', '--type', 'planned', '--yes'],
  ]) {
    const { code, stderr } = await withKeys.run(...args);
    expect(stderr).toMatch(
      /^farshore: nothing was sent: the worker azure:vault-01@\S+ was started without keys and .*keys\.yaml\. Remedy: restart it/m,
    );
    expect(code).toBe(3);
  }
  const { item } = (await site.farshore.protectedItem(VM))!;
  expect(item).toMatchObject({ phase: 'Protected', pending: [] });
  expect(item.paused).toBeUndefined();
  // What is only read is.
  expect((await withKeys.run('status')).stdout).toContain(VM);
  expect((await withKeys.run('plan', 'list')).stdout).toContain('There are no plan runs');
});

test('doctor names every worker with different keys, and reports it if no worker has any', async () => {
  const found = await doctor(withKeys, 'Encryption');
  expect(found.map(({ status }) => status)).toEqual(['problem', 'problem', 'problem']);
  for (const role of ['azure:vault-01', 'vmm:vmm-01', 'host:hyperv-01']) {
    expect(found.filter(({ message }) => message.includes(`the worker ${role}@`))).toHaveLength(1);
  }
  expect(await doctor(shell, 'Encryption')).toMatchObject([
    { status: 'ok', message: expect.stringContaining('is not encrypted') },
  ]);
  const broken = new Shell(shell.folder, { ...shell.env, FARSHORE_ENCRYPTION_KEYS: path.join(shell.folder, 'none') });
  expect(await doctor(broken, 'Encryption')).toMatchObject([
    { status: 'problem', message: expect.stringContaining('the key file does not exist') },
  ]);
});

test('doctor reports a workflow that a worker cannot process, and why', async () => {
  expect(await doctor(shell, 'Workflows')).toMatchObject([{ status: 'ok' }]);
  const { address, namespace } = site.running.instance.temporal;
  const connection = await Connection.connect({ address });
  onTestFinished(() => connection.close());
  const dataConverter = clientDataConverter(await KeyRing.open(keyFile));
  const client = new Client({ connection, namespace, dataConverter });
  const workflowId = 'plan/strange/1';
  const input = { vault: 'vault-01', plan: { name: 'strange', groups: [{ name: 'g', vms: [VM] }] }, type: 'planned' };
  const options = { workflowId, taskQueue: taskQueues.azure('vault-01'), args: [input] };
  const handle = await client.workflow.start('runRecoveryPlan', options);
  await expect
    .poll(() => doctor(shell, 'Workflows'), SOON)
    .toMatchObject([
      { status: 'problem', message: expect.stringMatching(/^plan\/strange\/1 is stuck: .*encrypted with key a/) },
    ]);
  await handle.terminate();
  expect(await doctor(shell, 'Workflows')).toMatchObject([{ status: 'ok' }]);
});

test('doctor reports a VM whose state a worker cannot read, as after a rollback, and the remedy', async () => {
  const { item } = (await site.farshore.protectedItem(VM))!;
  const { vault, host, vmmServer, policy } = item;
  const vm = 'newer-01';
  const input = { vault, vm, host, vmmServer, policy, item: { ...item, vm, stateVersion: 99, phase: 'OfNewerCode' } };
  const options = { workflowId: `vm/${vault}/${vm}`, taskQueue: taskQueues.azure(vault), args: [input] };
  const handle = await site.farshore.temporal.workflow.start('protectVm', options);
  onTestFinished(async () => void (await handle.terminate()));
  await expect
    .poll(() => doctor(shell, 'Workflows'), SOON)
    .toMatchObject([
      {
        status: 'problem',
        message: expect.stringMatching(
          /^vm\/vault-01\/newer-01 is stuck: .*can't read the state left by an earlier run/,
        ),
        remedy: expect.stringContaining(
          'fix the cause on the machine of the worker; the workflow then resumes automatically',
        ),
      },
    ]);
});

test('doctor reports an activity that was paused by hand', async () => {
  const { workflowService, options } = site.farshore.temporal;
  const paused = {
    namespace: options.namespace,
    execution: { workflowId: 'host/vault-01/hyperv-01' },
    type: 'watchHost',
    identity: 'somebody',
  };
  await workflowService.pauseActivity(paused);
  expect(await doctor(shell, 'Workflows')).toMatchObject([
    { status: 'warning', message: 'host/vault-01/hyperv-01 is stuck: its activity watchHost is paused' },
  ]);
  await workflowService.unpauseActivity(paused);
  expect(await doctor(shell, 'Workflows')).toMatchObject([{ status: 'ok' }]);
});

test('a plan run is visible before a worker has taken it, and continues when one does', async () => {
  const worker = site.running.processId('azure-vault-01')!;
  process.kill(worker, 'SIGSTOP');
  let id: string;
  try {
    const { code, value } = await shell.json('plan', 'run', 'plan.yaml', '--type', 'planned', '--yes');
    expect(code).toBe(0);
    ({ planRun: id } = value as { planRun: string });
    expect((await shell.run('plan', 'show', id)).stdout).toMatch(/InProgress: waiting for a worker/);
    await expect.poll(async () => (await shell.run('plan', 'list')).stdout, SOON).toContain(id);
  } finally {
    process.kill(worker, 'SIGCONT');
  }
  const run = await site.farshore.followPlanRun(id);
  expect(run).toMatchObject({ state: 'Succeeded', machines: [{ vm: VM, state: 'Succeeded' }] });
});
