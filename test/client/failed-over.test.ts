/**
 * The ways back from a failover, by the command, against a real instance: from another point, home again before the commit, and
 * back after it. The tests build on each other.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Answer } from '../../client/answers.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { pattern } from '../replication/model.js';
import { farWindow } from '../support/far-window.js';
import { requireReader, runReader } from '../support/readers.js';
import { makeSite, MiB, Shell, siteYaml } from './command.js';

let shell: Shell;
let points: string[];
beforeAll(async () => {
  shell = new Shell(await mkdtemp(join(tmpdir(), 'farshore-cli-')));
  await makeSite(shell);
  // What is resynchronized here does not wait for its window.
  const window = `  - name: fast\n    resynchronizationWindow: ${JSON.stringify(farWindow())}\n`;
  await shell.write('site.yaml', siteYaml.replace('  - name: fast\n', window));
  expect((await shell.run('up', '--detach')).code).toBe(0);
  expect((await shell.run('protect', 'web-01', '--wait')).code).toBe(0);
  await write('primary', 1);
  expect((await shell.run('sync', 'web-01', '--wait', '--tag', 'good')).code).toBe(0);
  await write('primary', 2);
  expect((await shell.run('failover', 'web-01', '--type', 'planned', '--wait', '--yes')).code).toBe(0);
  points = (await show()).recoveryPoints!.map(({ id }) => id);
}, 180_000);
afterAll(async () => {
  await shell.run('down');
  await rm(shell.folder, { recursive: true, force: true });
});

const show = async () => (await shell.json('vm', 'show', 'web-01')).value as Answer<'vm show'>;
const uriOf = async (side: 'primary' | 'recovery'): Promise<string> => {
  if (side === 'primary') return (await show()).disks[0]!.nbdUri!;
  const { value } = await shell.json('vm', 'list', '--side', 'recovery');
  return (value as Answer<'vm list --side recovery'>).vms[0]!.disks[0]!.nbdUri!;
};

async function write(side: 'primary' | 'recovery', seed: number): Promise<void> {
  const guest = await NbdGuest.connect(await uriOf(side));
  await guest.write(pattern(MiB, seed), 2 * MiB);
  await guest.flush();
  await guest.close();
}

async function read(side: 'primary' | 'recovery'): Promise<Buffer> {
  const guest = await NbdGuest.connect(await uriOf(side));
  const found = Buffer.alloc(MiB);
  await guest.read(found, 2 * MiB);
  await guest.close();
  return found;
}

const compared = async (formats: [string, string], one: string, other: string): Promise<string> =>
  await runReader('qemu-img', 'compare', '-f', formats[0], '-F', formats[1], one, other);

const change = ['change-recovery-point', 'web-01', '--recovery-point'];

test('what a change of the recovery point would do is told, and nothing is touched without the name or --yes', async () => {
  await write('recovery', 3);
  const dry = await shell.json(...change, 'good', '--dry-run');
  expect(dry).toMatchObject({
    code: 0,
    value: {
      ...{ dryRun: true, blockers: [] },
      pointChange: {
        ...{ from: { id: points.at(-1) }, to: { tags: ['good'] } },
        replicaVm: { power: 'Running', written: [{ name: 'os', bytes: MiB, ranges: 1 }] },
      },
    },
  });
  const asked = await shell.run(...change, 'good');
  expect(asked).toMatchObject({ code: 3, stdout: '' });
  expect(asked.stderr).toMatch(
    /New recovery point +\S+ \(.*, crash-consistent, good\)\nDiscarded +at most 1\.0 MiB .*\(os 1\.0 MiB in 1 range\)\nThe new point is .* older: [^]*re-run with --yes/,
  );
  const unknown = await shell.run(...change, 'bad', '--yes');
  expect(unknown).toMatchObject({ code: 3, stdout: '' });
  expect(unknown.stderr).toMatch(/nothing was changed\nweb-01: web-01 has no recovery point "bad"; it has 0/);
  expect((await shell.json(...change, 'bad', '--dry-run')).code).toBe(3);
  expect((await shell.json('job', 'list', '--limit', '1')).value).toMatchObject({
    jobs: [{ kind: 'plannedFailover' }],
  });
});

test('the VM runs from the other point, to the last byte', { timeout: 180_000 }, async (context) => {
  requireReader('qemu-img', context);
  const changed = await shell.json(...change, 'good', '--reason', 'the shop is broken', '--wait', '--yes');
  expect(changed).toMatchObject({
    code: 0,
    value: { job: { kind: 'changeRecoveryPoint', state: 'Succeeded', reason: 'the shop is broken' } },
  });
  expect((await shell.run('vault', 'export', 'web-01', '--point', 'good', '--to', 'good')).code).toBe(0);
  const vhd = join(shell.folder, 'good/os.vhd');
  expect(await compared(['vpc', 'raw'], vhd, await uriOf('recovery'))).toContain('identical');
  const { jobId } = changed.value as { jobId: string };
  expect((await shell.run('job', 'show', jobId)).stdout).toMatch(
    /Reason +the shop is broken\n[^]*runs from another recovery point\.\n[^]*Discarded +at most 1\.0 MiB/,
  );
  expect(await show()).toMatchObject({
    phase: 'FailedOver',
    next: expect.stringMatching(/^farshore commit web-01 .*change-recovery-point web-01 .*cancel-failover web-01/),
  });
});

test(
  'a cancelled failover brings the VM home as it was, and replication continues',
  { timeout: 180_000 },
  async (context) => {
    requireReader('qemu-img', context);
    await write('recovery', 4);
    const dry = await shell.run('cancel-failover', 'web-01', '--dry-run');
    expect(dry).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/Discarded +at most 1\.0 MiB [^]*nothing was changed/),
    });
    expect((await shell.run('cancel-failover', 'web-01')).code).toBe(3);
    const cancelled = await shell.run('cancel-failover', 'web-01', '--wait', '--yes');
    expect(cancelled).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/it runs at the primary site again[^]*Its replica equals it/),
    });
    expect((await shell.json('vm', 'list', '--side', 'recovery')).value).toMatchObject({ vms: [] });
    expect(await read('primary')).toEqual(pattern(MiB, 2));
    await expect.poll(async () => (await show()).health, { timeout: 60_000, interval: 500 }).toBe('Normal');
    expect(await show()).toMatchObject({ phase: 'Protected', activeSide: 'primary', power: 'Running' });
    expect((await show()).recoveryPoints!.map(({ id }) => id).slice(0, points.length)).toEqual(points);
    expect(await shell.json('verify', 'web-01', '--wait')).toMatchObject({
      code: 0,
      value: { job: { result: { equal: true } } },
    });
    expect((await shell.json('vault', 'list')).value).toMatchObject({
      vms: [{ phase: 'Protected', activeSide: 'primary' }],
    });
    const again = await shell.run('cancel-failover', 'web-01', '--yes');
    expect(again).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/there is no failover that could be cancelled/),
    });
  },
);

test('after an unplanned failover, too, and then both sites are compared at once', { timeout: 180_000 }, async () => {
  await write('primary', 5);
  const failover = ['failover', 'web-01', '--type', 'unplanned', '--yes', '--force', '--wait'];
  expect((await shell.run(...failover)).code).toBe(0);
  await write('recovery', 6);
  // Its source has to be turned off and fenced first.
  const allowed = async () => (await show()).operations!.cancelFailover.allowed;
  await expect.poll(allowed, { timeout: 90_000, interval: 500 }).toBe(true);
  const cancelled = await shell.run('cancel-failover', 'web-01', '--wait', '--yes');
  expect(cancelled).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/is being compared with it now, .*was not shut down before its last changes/),
  });
  await expect.poll(async () => (await show()).health, { timeout: 60_000, interval: 500 }).toBe('Normal');
  const { value } = await shell.json('job', 'list', '--limit', '2');
  expect(value).toMatchObject({ jobs: [{ kind: 'resynchronize', state: 'Succeeded' }, { kind: 'cancelFailover' }] });
  expect(await read('primary')).toEqual(pattern(MiB, 5));
  expect(await shell.json('verify', 'web-01', '--wait')).toMatchObject({
    code: 0,
    value: { job: { result: { equal: true } } },
  });
});

test(
  'after the commit the VM is failed back with everything it has written, and protected again',
  { timeout: 240_000 },
  async () => {
    expect(await shell.run('failback', 'web-01', '--yes')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('only a VM that was failed over can be failed back'),
    });
    await shell.run('failover', 'web-01', '--type', 'planned', '--wait', '--yes');
    expect(await shell.run('failback', 'web-01', '--yes')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('farshore commit web-01'),
    });
    expect((await shell.run('commit', 'web-01', '--wait', '--yes')).code).toBe(0);
    expect(await show()).toMatchObject({
      activeSide: 'recovery',
      next: expect.stringContaining('farshore failback web-01'),
    });
    await write('recovery', 5);

    expect(await shell.json('failback', 'web-01', '--dry-run')).toMatchObject({
      code: 0,
      value: {
        ...{ dryRun: true, blockers: [] },
        failback: { replicaVm: { power: 'Running', written: [{ name: 'os', bytes: MiB }] } },
      },
    });
    const started = await shell.json('failback', 'web-01', '--reason', 'home again');
    expect(started).toMatchObject({ code: 0, value: { vm: 'web-01', jobId: expect.stringContaining('/failback/') } });
    await expect
      .poll(async () => (await show()).next, { timeout: 60_000, interval: 200 })
      .toContain('farshore complete-failback web-01 --wait');
    await write('recovery', 6);
    expect(await shell.run('complete-failback', 'web-01')).toMatchObject({ code: 3, stdout: '' });
    const completed = await shell.json('complete-failback', 'web-01', '--wait', '--yes');
    expect(completed).toMatchObject({
      code: 0,
      value: {
        job: { kind: 'failback', state: 'Succeeded', reason: 'home again', result: { originalUnchanged: true } },
      },
    });
    expect(await show()).toMatchObject({
      ...{ phase: 'FailedBack', activeSide: 'primary', power: 'Running' },
      next: expect.stringMatching(/^farshore commit web-01 .*cancel-failback web-01/),
    });
    expect(await read('primary')).toEqual(pattern(MiB, 6));

    await write('primary', 7);
    expect(await shell.run('cancel-failback', 'web-01')).toMatchObject({ code: 3, stdout: '' });
    expect(await shell.json('cancel-failback', 'web-01', '--wait', '--yes')).toMatchObject({
      code: 0,
      value: { job: { kind: 'cancelFailback', state: 'Succeeded' } },
    });
    expect(await show()).toMatchObject({ phase: 'Committed', activeSide: 'recovery' });
    expect(await read('recovery')).toEqual(pattern(MiB, 6));

    const again = await shell.run('failback', 'web-01', '--sync', 'during', '--wait', '--yes');
    expect(again).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/Lost +nothing\nNext, .*: farshore commit web-01/),
    });
    const committed = await shell.run('commit', 'web-01', '--wait', '--yes');
    expect(committed).toMatchObject({ code: 0, stdout: expect.stringContaining('farshore reverse-replicate web-01') });
    expect((await shell.json('vm', 'list', '--side', 'recovery')).value).toMatchObject({ vms: [] });
    expect(await show()).toMatchObject({ next: expect.stringContaining('farshore reverse-replicate web-01 --wait') });
    expect(await shell.json('reverse-replicate', 'web-01', '--wait')).toMatchObject({
      code: 0,
      value: { job: { kind: 'reverseReplicate', state: 'Succeeded' } },
    });
    expect(await show()).toMatchObject({ phase: 'Protected', activeSide: 'primary', health: 'Normal' });
    expect(await shell.json('verify', 'web-01', '--wait')).toMatchObject({
      value: { job: { result: { equal: true } } },
    });
    expect(await read('primary')).toEqual(pattern(MiB, 6));
  },
);
