/** Pause, policy, verification, the end of protection, and several VMs in one go, by the command, against a real instance; the tests build on each other. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { Answer } from '../../client/answers.js';
import { vaultBoardId } from '../../domain/ids.js';
import type { Job } from '../../domain/job.js';
import { DataFolder } from '../../config/data-folder.js';
import { flipByte } from '../replication/replica-fixture.js';
import { farWindow } from '../support/far-window.js';
import { cliPath, makeSite, planYaml, Shell, siteYaml } from './command.js';

let shell: Shell;
beforeAll(async () => {
  shell = new Shell(await mkdtemp(join(tmpdir(), 'farshore-cli-')));
  await makeSite(shell);
  // No resynchronization begins by itself.
  const byDefault = `  - name: default\n    resynchronizationWindow: ${JSON.stringify(farWindow())}\nvms:\n`;
  await shell.write('site.yaml', siteYaml.replace('vms:\n', byDefault));
  expect((await shell.run('up', '--detach')).code).toBe(0);
  expect((await shell.run('protect', 'web-01', '--wait')).code).toBe(0);
}, 180_000);
afterAll(async () => {
  await shell.run('down');
  await rm(shell.folder, { recursive: true, force: true });
});

const show = async (vm: string) =>
  (await shell.json('vm', 'show', vm)).value as {
    phase: string;
    activeSide: string;
    power: string;
    health: string;
    next: string;
    policy: { name: string };
    conditions: { reason: string; since?: string }[];
    recoveryPoints: { suspect?: string }[];
  };
const list = async (...args: string[]) => ((await shell.json('vm', 'list', ...args)).value as Answer<'vm list'>).vms;
const replica = () => join(shell.folder, 'vault/vms/web-01/disks/os.vhd');

test('pause and resume', { timeout: 180_000 }, async () => {
  expect(await shell.json('pause', 'web-01')).toMatchObject({ code: 0, value: { vm: 'web-01' } });
  const paused = await show('web-01');
  expect(paused).toMatchObject({ health: 'Warning', conditions: [{ reason: 'Paused' }] });
  expect(paused.next).toMatch(/^farshore resume web-01/);
  expect((await shell.run('status')).code).toBe(1);
  const sync = await shell.run('sync', 'web-01');
  expect(sync).toMatchObject({ code: 3, stdout: '' });
  expect(sync.stderr).toMatch(/replication has been paused since/);
  expect((await shell.run('pause', 'web-01')).code).toBe(3);
  expect((await shell.run('resume', 'web-01')).code).toBe(0);
  await expect.poll(async () => (await show('web-01')).health, { timeout: 30_000 }).toBe('Normal');
});

test('set-policy, with the names in the site file', { timeout: 180_000 }, async () => {
  expect(await shell.json('set-policy', 'web-01', 'default')).toMatchObject({
    code: 0,
    value: { policyName: 'default' },
  });
  expect((await show('web-01')).policy).toMatchObject({ name: 'default', copyFrequency: '5m' });
  expect(await shell.run('set-policy', 'web-01', 'gold')).toMatchObject({
    code: 3,
    stderr: 'farshore: there is no policy gold; use one of: fast, default\n',
  });
});

test(
  'verify finds the replica equal, then one flipped byte where it is, and a resynchronization mends it',
  { timeout: 180_000 },
  async () => {
    expect(await shell.json('verify', 'web-01', '--wait')).toMatchObject({
      code: 0,
      value: { job: { state: 'Succeeded', result: { equal: true, blocks: 256, ranges: [] } } },
    });
    await flipByte(replica(), 524_288 + 4321);
    const found = await shell.json('verify', 'web-01', '--wait');
    expect(found.code).toBe(4);
    expect((found.value as { job: Job }).job).toMatchObject({
      state: 'Succeeded',
      result: { equal: false, differingBlocks: 1, ranges: [{ disk: 'os', offset: 524_288 + 4321, length: 1 }] },
    });
    expect(found.stderr).toMatch(/web-01: the replica differs from its source/);
    const damaged = await show('web-01');
    expect(damaged).toMatchObject({ health: 'Critical', conditions: [{ reason: 'ResyncRequired' }] });
    for (const { suspect } of damaged.recoveryPoints) expect(suspect).toMatch(/1 differing range/);
    expect((await shell.run('vm', 'show', 'web-01')).stdout).toMatch(/, suspect .*\n[^]*Suspect, may not match/);
    const listed = await shell.run('vault', 'list');
    expect(listed.stdout).toMatch(/RECOVERY POINT +TIME +KIND +NAME\n.*, suspect/);
    for (const wrong of ['site.yaml', 'vault/out']) {
      const exported = await shell.run('vault', 'export', 'web-01', '--point', 'latest', '--to', wrong);
      expect(exported).toMatchObject({ code: 3, stdout: '' });
    }
    const exported = await shell.json('vault', 'export', 'web-01', '--point', 'latest-processed', '--to', 'out');
    expect(exported).toMatchObject({ code: 0, value: { suspect: expect.any(String) } });
    expect(exported.stderr).toMatch(/Recovery point .* is suspect: /);
    expect((await shell.run('resynchronize', 'web-01', '--now', '--wait')).code).toBe(0);
    const repaired = (await show('web-01')).recoveryPoints.map(({ suspect }) => suspect !== undefined);
    expect([repaired[0], repaired.at(-1)]).toEqual([true, false]);
    expect(await shell.json('verify', 'web-01', '--wait')).toMatchObject({
      code: 0,
      value: { job: { result: { equal: true } } },
    });
  },
);

test('a missing recovery point is refused before anything is cancelled for it', async () => {
  const mistyped = await shell.run(
    ...['failover', 'web-01', '--type', 'unplanned', '--recovery-point', '0001-00009999', '--yes'],
  );
  expect(mistyped).toMatchObject({ code: 3, stdout: '' });
  expect(mistyped.stderr).toMatch(
    /There is no such recovery point: web-01 has no recovery point "0001-00009999"; it has/,
  );
  expect(await show('web-01')).toMatchObject({ phase: 'Protected' });
  const exported = await shell.run('vault', 'export', 'web-01', '--point', '0001-00009999', '--to', 'out');
  expect(exported).toMatchObject({ code: 3, stdout: '' });
  const { value } = await shell.json('job', 'list', '--limit', '1');
  const [{ id }] = (value as { jobs: [{ id: string }] }).jobs;
  expect(await shell.run('job', 'cancel', id, '--yes')).toMatchObject({
    code: 3,
    stderr: `farshore: ${id} has already ended: Succeeded\n`,
  });
});

test(
  'unprotect says what is lost and wants a yes; then nothing of the replica is left',
  { timeout: 180_000 },
  async () => {
    const asked = await shell.run('unprotect', 'web-01', '--wait');
    expect(asked.code).toBe(3);
    expect(asked.stderr).toMatch(
      /Deletes: the replica of web-01 and \d+ recovery points?[^]*Keeps: +the VM on host h1[^]*re-run with --yes/,
    );
    // Its host could be told, and would track changes for nobody.
    const lost = await shell.run('unprotect', 'web-01', '--primary-lost', '--wait', '--yes');
    expect(lost).toMatchObject({ code: 3, stdout: '' });
    expect(lost.stderr).toMatch(
      /to end protection without the host anyway, add --force to --yes\nweb-01: its host h1 answers, and the VM runs there; .*: farshore unprotect web-01 --wait\n$/,
    );
    expect(await show('web-01')).toMatchObject({ phase: 'Protected' });
    expect(await shell.json('unprotect', 'web-01', '--wait', '--yes')).toMatchObject({
      code: 0,
      value: { vms: [{ job: { kind: 'disableProtection', state: 'Succeeded', result: { replicaKept: false } } }] },
    });
    const shown = await show('web-01');
    expect(shown).toMatchObject({ phase: 'Unprotected' });
    expect(shown).not.toHaveProperty('recoveryPoints');
    await expect(access(replica())).rejects.toThrow('ENOENT');
    expect((await shell.run('unprotect', 'web-01', '--yes')).code).toBe(3);
  },
);

test(
  'the VM can be protected again, under a higher epoch, and its replica can be kept',
  { timeout: 180_000 },
  async () => {
    expect((await shell.run('protect', 'web-01', '--wait')).code).toBe(0);
    expect(await shell.json('vm', 'show', 'web-01')).toMatchObject({ value: { phase: 'Protected', epoch: 4 } });
    expect(await shell.json('verify', 'web-01', '--wait')).toMatchObject({
      code: 0,
      value: { job: { result: { equal: true } } },
    });
    expect((await shell.run('unprotect', 'web-01', '--keep-replica', '--wait', '--yes')).code).toBe(0);
    await access(replica());
    const asked = await shell.run('protect', 'web-01', '--wait');
    expect(asked).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('The vault holds earlier recovery points of web-01'),
    });
    expect((await shell.run('protect', 'web-01', '--wait', '--yes')).code).toBe(0);
  },
);

test(
  'after a committed failover only the protection ends, and nothing overwrites the disks of the replica VM',
  { timeout: 180_000 },
  async () => {
    expect((await shell.run('failover', 'web-01', '--type', 'planned', '--wait', '--yes')).code).toBe(0);
    const open = await shell.run('unprotect', 'web-01', '--yes');
    expect(open.code).toBe(3);
    expect(open.stderr).toMatch(/failed over, not committed; commit first: farshore commit /);
    // Whoever repeats a command is told that it is done.
    const again = await shell.run('failover', 'web-01', '--type', 'planned', '--yes');
    expect(again).toMatchObject({ code: 0, stdout: expect.stringMatching(/^web-01: it has already been failed over/) });
    expect((await shell.run('commit', 'web-01', '--wait', '--yes')).code).toBe(0);
    expect(await shell.json('commit', 'web-01', '--yes')).toMatchObject({
      code: 0,
      value: { vms: [{ vm: 'web-01', done: 'its failover has already been committed' }] },
    });
    expect((await shell.run('unprotect', 'web-01', '--wait', '--yes')).code).toBe(0);
    const left = await show('web-01');
    expect(left).toMatchObject({ phase: 'Unprotected', activeSide: 'recovery', replicaVm: { power: 'Running' } });
    const [listed] = await list();
    expect(listed).toMatchObject({ activeSide: 'recovery', protectable: false });
    const { value: vault } = await shell.json('vault', 'list');
    expect(vault).toMatchObject({ vms: [{ vm: 'web-01', phase: 'Unprotected', activeSide: 'recovery' }] });
    const exported = await shell.run('vault', 'export', 'web-01', '--point', 'latest', '--to', 'failed-over');
    expect(exported).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/data written there since is not in/),
    });
    expect((await shell.run('status')).code).toBe(0);
    const running = await shell.json('vm', 'list', '--side', 'recovery');
    expect(running.value).toMatchObject({ vms: [{ vm: 'web-01', power: 'Running' }] });
    await access(replica());
    const protect = await shell.run('protect', 'web-01', '--wait', '--yes');
    expect(protect).toMatchObject({ code: 3, stdout: '' });
    expect(protect.stderr).toMatch(
      /web-01: it was failed over; its replica VM is Running at the recovery site[^]*farshore vm delete-replica web-01/,
    );
    await access(replica());
  },
);

test(
  'with the data folder lost the source does not start beside the vault, and what should run is Critical until it does',
  { timeout: 180_000 },
  async () => {
    expect((await shell.run('down')).code).toBe(0);
    await rm(join(shell.folder, '.farshore'), { recursive: true });
    expect(await shell.run('up', '--detach')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /\nOpen to +every user of this machine: this Temporal does not authenticate users \(docs\/security\.md/,
      ),
    });
    const [source] = await list();
    expect(source).toMatchObject({ power: 'Off', activeSide: 'recovery' });
    const status = await shell.run('status');
    expect(status).toMatchObject({ code: 2, stdout: expect.stringContaining('-> farshore vm start web-01') });
    expect(status.stdout).toMatch(/Critical +web-01: .*its replica VM does not exist/);
    expect((await shell.run('vm', 'start', 'web-01')).stderr).toMatch(/recreated from the recovery point[^]*--yes/);
    expect(await shell.json('vm', 'start', 'web-01', '--yes')).toMatchObject({
      code: 0,
      value: { activeSide: 'recovery', madeAgain: true },
    });
    expect((await shell.run('status')).code).toBe(0);
  },
);

test(
  'a replica VM that is not needed any more is deleted, and its VM runs and is protected at home',
  { timeout: 180_000 },
  async () => {
    const asked = await shell.run('vm', 'delete-replica', 'web-01');
    expect(asked).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/Deletes: the replica VM web-01[^]*Keeps: +the recovery point/),
    });
    expect((await shell.run('vm', 'delete-replica', 'web-01', '--yes')).code).toBe(0);
    expect(await show('web-01')).toMatchObject({
      phase: 'Unprotected',
      activeSide: 'primary',
      power: 'Off',
      next: expect.stringMatching(/^farshore vm start web-01 .*off at the primary site/),
    });
    expect((await shell.run('vault', 'list')).stdout).toMatch(/web-01, .*: Unprotected since .*Z, replica kept/);
    const refused = await shell.run('protect', 'web-01');
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining('web-01 is off at the primary site') });
    expect(refused.stderr).not.toContain('vault adopt');
    expect(await shell.json('vm', 'start', 'web-01')).toMatchObject({ code: 0, value: { activeSide: 'primary' } });
    expect(await show('web-01')).toMatchObject({ power: 'Running' });
    expect((await shell.run('protect', 'web-01', '--wait', '--yes')).code).toBe(0);
  },
);

test(
  'a VM that was renamed in the site file stays in every view, and its protection can be ended',
  { timeout: 180_000 },
  async () => {
    const site = await shell.read('site.yaml');
    await shell.write('renamed.yaml', site.replace('name: web-01', 'name: www-01'));
    const renamed = ['--site', 'renamed.yaml'];
    const status = await shell.json('status', ...renamed);
    expect(status.value).toMatchObject({
      vms: [{ vm: 'www-01' }, { vm: 'db-01' }, { vm: 'web-01', phase: 'Protected' }],
      attention: [{ vms: ['web-01'], message: expect.stringContaining('missing from the site file') }],
    });
    expect(await list(...renamed)).toContainEqual(
      expect.objectContaining({ vm: 'web-01', phase: 'Protected', inSiteFile: false }),
    );
    expect((await shell.run('vm', 'show', 'web-01', ...renamed)).code).toBe(0);
    expect((await shell.run('infrastructure', ...renamed)).stdout).toMatch(/VM web-01: Protected/);
    expect(await shell.run('unprotect', 'web-01', '--wait', '--yes', ...renamed)).toMatchObject({ code: 0 });
    expect((await shell.json('status', ...renamed)).value).toMatchObject({ vms: [{ vm: 'www-01' }, { vm: 'db-01' }] });
  },
);

test('the board of the vault has its own page, and shows news', { timeout: 180_000 }, async () => {
  const { temporal } = (await new DataFolder(join(shell.folder, '.farshore')).readInstance())!;
  const connection = await Connection.connect({ address: temporal.address });
  try {
    const board = new Client({ connection, namespace: temporal.namespace }).workflow.getHandle(vaultBoardId('vault-1'));
    const shown = async () => {
      const { events } = await board.fetchHistory();
      const results = (events ?? []).flatMap(
        ({ activityTaskCompletedEventAttributes: done }) => done?.result?.payloads ?? [],
      );
      return results.map(({ data }) => Buffer.from(data!).toString()).at(-1) ?? '';
    };
    await expect.poll(shown, { timeout: 90_000, interval: 500 }).toMatch(/# Vault vault-1: \w+.*web-01/);
    expect((await board.describe()).status.name).toBe('RUNNING');
  } finally {
    await connection.close();
  }
});

/** What came of a command that Ctrl-C ended once it had said this. */
async function interrupted(waiting: RegExp, ...args: string[]): Promise<{ ended: unknown; stderr: string }> {
  const child = spawn(process.execPath, [cliPath, ...args], {
    cwd: shell.folder,
    env: shell.env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const ended = once(child, 'close');
  let stderr = '';
  let isInterrupted = false;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (!isInterrupted && waiting.test(stderr)) isInterrupted = child.kill('SIGINT');
  });
  return { ended: await ended, stderr };
}

const phases = async () => (await list()).map(({ vm, phase, power }) => `${vm} ${phase} ${power}`);

test(
  'a command that is interrupted while it waits ends with 130, and says what goes on',
  { timeout: 180_000 },
  async () => {
    const { ended, stderr } = await interrupted(/db-01: Enable/, 'protect', 'web-01', 'db-01', '--wait', '--yes');
    expect(ended, stderr).toEqual([130, null]);
    for (const vm of ['web-01', 'db-01'])
      expect(stderr).toMatch(new RegExp(`job/vault-1/${vm}/\\S+ continues\\. Follow it with: farshore job show job/`));
    await expect
      .poll(phases, { timeout: 60_000, interval: 500 })
      .toEqual(['web-01 Protected Running', 'db-01 Protected Running']);
  },
);

test('a running plan run is cancelled, and its VMs keep running at home', { timeout: 180_000 }, async () => {
  await shell.write('plan.yaml', planYaml);
  const descriptions = ['', 'second/'].map((copy) => join(shell.folder, `vault/vms/db-01/${copy}description.json`));
  const contents = await Promise.all(descriptions.map((file) => readFile(file)));
  // What it can't go beyond.
  for (const file of descriptions) await writeFile(file, 'damaged');
  const run = await interrupted(/^Started /m, 'plan', 'run', 'plan.yaml', '--type', 'planned', '--wait', '--yes');
  expect(run.ended, run.stderr).toEqual([130, null]);
  const [, id] = /^(plan\/\S+) continues/m.exec(run.stderr)!;
  const asked = await shell.run('plan', 'cancel', id!);
  expect(asked).toMatchObject({ code: 3, stderr: expect.stringMatching(/Cancels the run [^]*re-run with --yes/) });
  const cancelled = await shell.json('plan', 'cancel', id!, '--wait', '--yes');
  expect(cancelled).toMatchObject({ code: 0, value: { planRun: id, run: { state: 'Cancelled' } } });
  for (const [index, file] of descriptions.entries()) await writeFile(file, contents[index]!);
  expect(await shell.run('plan', 'cancel', 'shop', '--yes')).toMatchObject({
    code: 3,
    stderr: `farshore: the run ${id} has already ended: Cancelled\n`,
  });
  await expect.poll(phases).toEqual(['web-01 Protected Running', 'db-01 Protected Running']);
});

test('two VMs are failed over, committed and unprotected by one command each', { timeout: 180_000 }, async () => {
  const both = ['web-01', 'db-01'];
  const ofBoth = (kind: string) => ({
    code: 0,
    value: { vms: both.map((vm) => ({ vm, job: { vm, kind, state: 'Succeeded' } })) },
  });
  const failover = ['failover', ...both, '--type', 'unplanned', '--yes'];
  const asked = await shell.run(...failover);
  expect(asked.code).toBe(3);
  for (const vm of both) expect(asked.stderr).toContain(`${vm}: its host h1 answers`);
  expect(await shell.json(...failover, '--force', '--wait')).toMatchObject(ofBoth('unplannedFailover'));
  expect((await shell.json('vm', 'list', '--side', 'recovery')).value).toMatchObject({
    vms: both.toSorted().map((vm) => ({ vm, power: 'Running' })),
  });
  expect(await shell.json('commit', ...both, '--wait', '--yes')).toMatchObject(ofBoth('commitFailover'));
  // One that is not protected keeps the other from being unprotected.
  const one = await shell.run('unprotect', ...both, 'nope', '--yes');
  expect(one).toMatchObject({ code: 3, stderr: expect.stringContaining('nope') });
  expect(await shell.json('unprotect', ...both, '--wait', '--yes')).toMatchObject(ofBoth('disableProtection'));
  expect((await list()).map(({ phase }) => phase)).toEqual(['Unprotected', 'Unprotected']);
});
