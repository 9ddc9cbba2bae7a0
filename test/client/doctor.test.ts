/** `farshore doctor` by real servers: what is wrong is found, each by itself, and what is well is said to be. */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttp } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Connection } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { claimStore } from '../../replication/vault-owner.js';
import { runChecks } from '../../doctor/check.js';
import { clockFinding } from '../../doctor/temporal.js';
import { addSearchAttributes, ensureSearchAttributes } from '../../temporal/search-attributes.js';
import type { DevServer } from '../../temporal/server/dev-server.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { SmallSite, VM } from '../faults/small-site.js';
import { startTestDevServer } from '../support/dev-server.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { Shell, makeSite } from './command.js';

interface Said {
  readonly check: string;
  readonly status: string;
  readonly message: string;
  readonly remedy?: string;
  readonly configuredBy?: string;
}

async function examined(shell: Shell, ...more: string[]) {
  const { code, value } = await shell.json('doctor', ...more);
  const { status, checks } = value as { status: string; checks: Said[] };
  return { code, status, checks, of: (name: string) => checks.filter(({ check }) => check === name) };
}

/** The server's list lags behind. */
const PROVIDER = 'vmm-vmm-01';
const SOON = { timeout: 30_000, interval: 300 };

let shell: Shell;
beforeEach(async () => {
  shell = new Shell(await temporaryFolder());
  await makeSite(shell);
});
const configured = (env: NodeJS.ProcessEnv) => new Shell(shell.folder, env);
const makeStore = async () =>
  await EmbeddedReplicaStore.open(path.join(shell.folder, 'vault'), { create: true }).then((store) => store.close());

describe('a Temporal server that has not been prepared', () => {
  let server: DevServer;
  let connection: Connection;
  beforeAll(async () => {
    server = await startTestDevServer();
    connection = await Connection.connect({ address: server.address });
  });
  afterAll(async () => {
    await connection.close();
    await server.stop();
  });
  const inNamespace = (namespace: string) =>
    examined(configured({ TEMPORAL_ADDRESS: server.address, TEMPORAL_NAMESPACE: namespace }));

  test('reports a retention of a day, missing search attributes, workers and store, and none hides another', async () => {
    const { code, status, of } = await inNamespace('default');
    expect({ code, status }).toEqual({ code: 2, status: 'problem' });
    expect(of('Temporal')).toMatchObject([{ status: 'ok', configuredBy: 'the environment variable TEMPORAL_ADDRESS' }]);
    expect(of('Namespace')).toMatchObject([
      {
        status: 'problem',
        message: expect.stringMatching(/default keeps jobs and plan runs for only 1 d/),
        remedy: `temporal operator namespace update --address ${server.address} --namespace default --retention 90d`,
        configuredBy: 'the environment variable TEMPORAL_NAMESPACE',
      },
    ]);
    expect(of('Search attributes')).toMatchObject([
      {
        status: 'problem',
        message: expect.stringContaining('FarshoreRpoSeconds'),
        remedy: expect.stringContaining('--type Int'),
      },
    ]);
    expect(of("Temporal's clock")).toMatchObject([{ status: 'ok' }]);
    expect(of('Task queue azure:vault-1')).toMatchObject([
      {
        status: 'problem',
        message: 'no worker polls it for workflows and activities',
        remedy: 'start the worker: farshore worker --role azure --name vault-1',
      },
    ]);
    expect(of('Task queue vmm:vault-1/vmm-1')).toMatchObject([
      { status: 'problem', message: expect.stringMatching(/ activities\b/) },
    ]);
    expect(of('Task queue host:vault-1/h1')).toMatchObject([{ status: 'problem' }]);
    expect(of('Store')).toMatchObject([
      { status: 'problem', configuredBy: `vault.store of ${path.join(shell.folder, 'site.yaml')}` },
    ]);
    expect(of('Space at the store')).toMatchObject([{ status: 'skipped' }]);
    expect(of('Disks of h1')).toMatchObject([{ status: 'skipped', message: 'h1 is another machine' }]);
  });

  test('reports an attribute of another type, a missing namespace and an existing store', async () => {
    await addSearchAttributes(connection, 'default', { FarshoreVm: 'Int' });
    await makeStore();
    const { of } = await inNamespace('default');
    expect(of('Search attributes')).toMatchObject([
      { message: expect.stringMatching(/FarshoreVm .* type Int, .* Keyword/) },
    ]);
    expect(of('Store')).toMatchObject([{ status: 'ok' }]);
    expect(of("Store's clock")).toMatchObject([{ status: 'ok' }]);
    expect(of('Space at the store')).not.toMatchObject([{ status: 'skipped' }]);
    const nowhere = await inNamespace('nowhere');
    expect(nowhere.of('Namespace')).toMatchObject([
      { status: 'problem', message: expect.stringMatching(/has no namespace nowhere/) },
    ]);
    for (const check of ["Temporal's clock", 'Task queue host:vault-1/h1']) {
      expect(nowhere.of(check)).toMatchObject([
        { status: 'skipped', message: 'unknown: there is no namespace nowhere' },
      ]);
    }
  });

  test('with its attributes, and credentials that others may read', async () => {
    await ensureSearchAttributes(connection, 'farshore', searchAttributeTypes);
    await shell.write('temporal.toml', `[profile.lab]\naddress = "${server.address}"\n`);
    const env = { TEMPORAL_CONFIG_FILE: 'temporal.toml', TEMPORAL_PROFILE: 'lab' };
    const file = path.join(shell.folder, 'temporal.toml');
    await chmod(file, 0o644);
    const loose = await examined(configured(env));
    expect(loose.of('Search attributes')).toMatchObject([{ status: 'ok' }]);
    expect(loose.of('Namespace')).toMatchObject([{ status: 'ok', message: 'farshore has a retention of 90 d' }]);
    expect(loose.of('Temporal')).toMatchObject([{ configuredBy: `the profile lab of ${file}` }]);
    expect(loose.of('Credentials')).toMatchObject([{ status: 'warning', remedy: `chmod 600 ${file}` }]);
    await chmod(file, 0o600);
    expect((await examined(configured(env))).of('Credentials')).toMatchObject([{ status: 'ok' }]);
  });
});

describe('an address where there is no Temporal', () => {
  test('nothing listens: the store is checked nevertheless', async () => {
    await makeStore();
    const { code, of, checks } = await examined(configured({ TEMPORAL_ADDRESS: '127.0.0.1:1' }));
    expect(code).toBe(2);
    expect(of('Temporal')).toMatchObject([
      { status: 'problem', message: expect.stringMatching(/127\.0\.0\.1:1: no process listens there/) },
    ]);
    expect(of('Store')).toMatchObject([{ status: 'ok' }]);
    expect(checks.filter(({ status }) => status === 'problem')).toHaveLength(1);
    expect(of('Task queue host:vault-1/h1')).toMatchObject([{ status: 'skipped' }]);
  });

  test('refuses the store of another vault', async () => {
    const store = await EmbeddedReplicaStore.open(path.join(shell.folder, 'vault'), { create: true });
    await claimStore(store, 'another-vault');
    await store.close();
    const { of } = await examined(configured({ TEMPORAL_ADDRESS: '127.0.0.1:1' }));
    expect(of('Store')).toMatchObject([
      {
        status: 'problem',
        message: expect.stringContaining('belongs to another vault: it belongs to the vault another'),
      },
    ]);
    // Whoever has nothing but the store reads it all the same.
    expect((await shell.run('vault', 'list', '--store', 'vault')).code).toBe(0);
    expect(await shell.run('up')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('Each vault needs its own store'),
    });
  });

  test('something else listens, and is contacted with TLS', async () => {
    const web = createHttp((_, answer) => answer.end('hello'));
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void web.close());
    const address = `127.0.0.1:${(web.address() as AddressInfo).port}`;
    const plain = await examined(configured({ TEMPORAL_ADDRESS: address }));
    expect(plain.of('Temporal')).toMatchObject([
      { status: 'problem', message: expect.stringMatching(/not a Temporal server/) },
    ]);
    const secured = await examined(configured({ TEMPORAL_ADDRESS: address, TEMPORAL_TLS: 'true' }));
    expect(secured.of('Temporal')).toMatchObject([
      { status: 'problem', remedy: expect.stringContaining('TEMPORAL_TLS=false') },
    ]);
  });

  test('no Temporal and no site file', async () => {
    const { code, checks } = await examined(shell, '--site', 'none.yaml');
    expect(code).toBe(2);
    expect(checks.map(({ check, status }) => [check, status])).toEqual([
      ['Site file', 'problem'],
      ['Temporal', 'problem'],
    ]);
    expect(checks[1]).toMatchObject({ remedy: expect.stringContaining('farshore up') });
  });
});

test('a healthy instance is ok; a hypervisor that hangs and a missing disk are both reported', async () => {
  const folder = await temporaryFolder();
  // Memory: another file system than that of the disks.
  const apart = await mkdtemp('/dev/shm/farshore-test-');
  onTestFinished(() => rm(apart, { recursive: true, force: true }));
  await mkdir(path.join(folder, 'source'));
  const site = await SmallSite.start(folder, 'source', { store: `{ kind: embedded, path: ${apart}/store }` });
  try {
    const doctor = () => examined(site.shell, '--data', site.data.path);
    const well = await doctor();
    // Whether other people have accounts on this machine, who could use its Temporal, is up to the machine.
    const [access] = well.of('Access to Temporal');
    expect(well.checks.filter((check) => check.status !== 'ok' && check.check !== 'Access to Temporal')).toEqual([]);
    expect(['ok', 'warning']).toContain(access!.status);
    expect({ code: well.code, status: well.status }).toEqual({
      code: access!.status === 'ok' ? 0 : 1,
      status: access!.status,
    });
    expect(well.of('Task queue host:vault-01/hyperv-01')).toMatchObject([
      { message: expect.stringMatching(/host:hyperv-01@.+:\d+/) },
    ]);
    const { stdout } = await site.shell.run('doctor', '--data', site.data.path);
    expect(stdout).toMatch(/^ok {7}Temporal: answers at .* \(configured by the instance in .*\)$/m);

    process.kill(site.running.processId('hypervisor-hyperv-01')!, 'SIGSTOP');
    await rm(site.disk);
    const ill = await doctor();
    expect(ill.code).toBe(2);
    expect(ill.of('Hypervisor of hyperv-01')).toMatchObject([
      {
        status: 'problem',
        message: expect.stringContaining('does not answer'),
        remedy: expect.stringMatching(/^restart the hypervisor: `farshore hypervisor --host hyperv-01`/),
      },
    ]);
    expect(ill.of('Disks of hyperv-01')).toMatchObject([
      { status: 'problem', message: expect.stringMatching(/no file/) },
    ]);
    expect(ill.of('Temporal')).toMatchObject([{ status: 'ok' }]);
    process.kill(site.running.processId('hypervisor-hyperv-01')!, 'SIGCONT');
  } finally {
    await site.stop();
  }
});

test('a VM that is not Normal is reported with the command to type, and so is a Provider that is gone', async () => {
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'source'));
  const site = await SmallSite.start(folder, 'source', { diskBytes: 8 * 1024 * 1024, dataBytes: 1024 * 1024 });
  try {
    const replication = async (...more: string[]) =>
      (await examined(site.shell, '--data', site.data.path, ...more)).of('Replication');
    expect(await replication()).toMatchObject([{ status: 'ok', message: 'no VM is protected' }]);
    await site.farshore.protect(VM);
    await site.until(({ health, item }) => health === 'Normal' && item.job === undefined);
    process.kill(site.running.processId(PROVIDER)!, 'SIGSTOP');
    await expect
      .poll(() => replication(), SOON)
      .toMatchObject([{ status: 'ok', message: `Normal and on time: ${VM}` }]);
    expect((await site.shell.run('pause', VM, '--data', 'data')).code).toBe(0);
    await expect
      .poll(() => replication(), SOON)
      .toMatchObject([
        {
          status: 'warning',
          message: expect.stringContaining('is paused'),
          remedy: `farshore resume ${VM}`,
          vms: [VM],
        },
      ]);

    expect((await site.shell.run('resume', VM, '--data', 'data')).code).toBe(0);

    // A poll lasts a minute: only then is it known that there is no other.
    const restart = 'farshore worker --role vmm --name vmm-01';
    await expect
      .poll(async () => (await site.shell.json('status', '--data', 'data')).value, {
        timeout: 180_000,
        interval: 2_000,
      })
      .toMatchObject({
        health: 'Warning',
        attention: [{ vms: [VM], advice: [expect.stringContaining(restart), expect.stringContaining('unplanned')] }],
      });
    expect((await site.shell.json('vm', 'show', VM, '--data', 'data')).value).toMatchObject({
      health: 'Normal',
      problem: expect.stringContaining(restart),
      operations: { plannedFailover: { allowed: false, reason: expect.stringContaining(restart) } },
      next: expect.stringContaining(restart),
    });
    process.kill(site.running.processId(PROVIDER)!, 'SIGCONT');
    await expect
      .poll(async () => (await site.shell.json('status', '--data', 'data')).value, SOON)
      .toMatchObject({ health: 'Normal', attention: [] });

    // Nothing of where it is protected is named any more: it is looked at all the same.
    const text = await site.shell.read('site.yaml');
    const renamed = text.replaceAll('vmm-01', 'vmm-02').replaceAll('hyperv-01', 'hyperv-02').replaceAll(VM, 'app-01');
    await site.shell.write('renamed.yaml', renamed);
    const { of } = await examined(site.shell, '--data', site.data.path, '--site', 'renamed.yaml');
    for (const queue of ['vmm:vault-01/vmm-01', 'host:vault-01/hyperv-01']) {
      expect(of(`Task queue ${queue}`)).toMatchObject([{ status: 'ok' }]);
    }
    expect(of('Task queue host:vault-01/hyperv-02')).toMatchObject([{ status: 'problem' }]);
    expect(of('Hypervisor of hyperv-01')).toMatchObject([{ status: 'ok', message: 'answers and knows 1 VM' }]);
    expect(of('Disks of hyperv-01')).toMatchObject([{ status: 'skipped', message: expect.stringContaining(VM) }]);
    expect(of('Replication')).toContainEqual(
      expect.objectContaining({ message: `${VM}: the VM is protected but missing from the site file` }),
    );
  } finally {
    process.kill(site.running.processId(PROVIDER)!, 'SIGCONT');
    await site.stop();
  }
});

test('a store beside the disks is a warning', async () => {
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'source'));
  const site = await SmallSite.start(folder, 'source');
  try {
    const { code, of } = await examined(site.shell, '--data', site.data.path);
    expect(code).toBe(1);
    expect(of('Disks of hyperv-01')).toMatchObject([
      { status: 'warning', message: expect.stringMatching(/db-01\/os and the store are on the same file system/) },
    ]);
  } finally {
    await site.stop();
  }
});

test('a check that hangs or fails does not stop the others', async () => {
  const results = await runChecks(
    [
      { name: 'hangs', run: () => new Promise(() => undefined) },
      { name: 'fails', run: () => Promise.reject(new Error('broken')) },
      { name: 'well', run: () => Promise.resolve({ status: 'ok', message: 'well' }) },
    ],
    50,
  );
  expect(results.map(({ check, status }) => [check, status])).toEqual([
    ['hangs', 'problem'],
    ['fails', 'problem'],
    ['well', 'ok'],
  ]);
});

test.each([
  [{ ms: 900, within: 5 }, 'ok'],
  [{ ms: 2_500, within: 1_000 }, 'ok'],
  [{ ms: -5_000, within: 10 }, 'warning'],
  [{ ms: 40_000, within: 10 }, 'problem'],
  [undefined, 'skipped'],
])('a clock that is off by %j: %s', (offset, status) => {
  expect(clockFinding(offset, 'the clock of a server')).toMatchObject({ status });
});
