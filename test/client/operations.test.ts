/** Pause, policy, verification and the end of protection, by the command, against a real instance; the tests build on each other. */
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { flipByte } from '../replication/replica-fixture.js';
import { farWindow } from '../support/far-window.js';
import { makeSite, Shell, siteYaml } from './command.js';

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
    health: string;
    next: string;
    policy: { name: string };
    conditions: { reason: string; since?: string }[];
    recoveryPoints: { suspect?: string }[];
  };
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

test('set-policy, by the names of the site file', { timeout: 180_000 }, async () => {
  expect(await shell.json('set-policy', 'web-01', 'default')).toMatchObject({ code: 0, value: { policy: 'default' } });
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
      value: { state: 'Succeeded', result: { equal: true, blocks: 256, ranges: [] } },
    });
    await flipByte(replica(), 524_288 + 4321);
    const found = await shell.json('verify', 'web-01', '--wait');
    expect(found.code).toBe(4);
    expect(found.value).toMatchObject({
      state: 'Succeeded',
      result: { equal: false, differingBlocks: 1, ranges: [{ disk: 'os', offset: 524_288 + 4321, length: 1 }] },
    });
    expect(found.stderr).toMatch(/web-01: the replica differs from its source/);
    const damaged = await show('web-01');
    expect(damaged).toMatchObject({ health: 'Critical', conditions: [{ reason: 'ResyncRequired' }] });
    for (const { suspect } of damaged.recoveryPoints) expect(suspect).toMatch(/1 ranges? that differ/);
    expect((await shell.run('vm', 'show', 'web-01')).stdout).toMatch(/, suspect .*\n[^]*Suspect, may not be/);
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
      value: { result: { equal: true } },
    });
  },
);

test('a recovery point that is not there is refused before anything is cancelled for it', async () => {
  const mistyped = await shell.run(
    ...['failover', 'web-01', '--type', 'unplanned', '--recovery-point', '0001-00009999', '--yes'],
  );
  expect(mistyped).toMatchObject({ code: 3, stdout: '' });
  expect(mistyped.stderr).toMatch(/There is no such recovery point: web-01: asked for Custom 0001-00009999; there are/);
  expect(await show('web-01')).toMatchObject({ phase: 'Protected' });
  const exported = await shell.run('vault', 'export', 'web-01', '--point', '0001-00009999', '--to', 'out');
  expect(exported).toMatchObject({ code: 3, stdout: '' });
  const { value } = await shell.json('job', 'list', '--limit', '1');
  const [{ id }] = value as [{ id: string }];
  expect(await shell.run('job', 'cancel', id, '--yes')).toMatchObject({
    code: 3,
    stderr: `farshore: ${id} has ended already: Succeeded\n`,
  });
});

test(
  'unprotect says what is lost and wants a yes; then nothing of the replica is left',
  { timeout: 180_000 },
  async () => {
    const asked = await shell.run('unprotect', 'web-01', '--wait');
    expect(asked.code).toBe(3);
    expect(asked.stderr).toMatch(/all its recovery points.* will be deleted[^]*repeat it with --yes/);
    expect(await shell.json('unprotect', 'web-01', '--wait', '--yes')).toMatchObject({
      code: 0,
      value: { kind: 'disableProtection', state: 'Succeeded', result: { replicaKept: false } },
    });
    const shown = await show('web-01');
    expect(shown).toMatchObject({ phase: 'Unprotected' });
    expect(shown).not.toHaveProperty('recoveryPoints');
    await expect(access(replica())).rejects.toThrow('ENOENT');
    expect((await shell.run('unprotect', 'web-01', '--yes')).code).toBe(3);
  },
);

test('the VM can be protected again, under a higher epoch, and its replica be kept', { timeout: 180_000 }, async () => {
  expect((await shell.run('protect', 'web-01', '--wait')).code).toBe(0);
  expect(await shell.json('vm', 'show', 'web-01')).toMatchObject({ value: { phase: 'Protected', epoch: 4 } });
  expect(await shell.json('verify', 'web-01', '--wait')).toMatchObject({ code: 0, value: { result: { equal: true } } });
  expect((await shell.run('unprotect', 'web-01', '--keep-replica', '--wait', '--yes')).code).toBe(0);
  await access(replica());
  const asked = await shell.run('protect', 'web-01', '--wait');
  expect(asked).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('The vault holds recovery points of web-01'),
  });
  expect((await shell.run('protect', 'web-01', '--wait', '--yes')).code).toBe(0);
});

test(
  'after a committed failover only the protection ends, and nothing overwrites the disks of the replica VM',
  { timeout: 180_000 },
  async () => {
    expect((await shell.run('failover', 'web-01', '--type', 'planned', '--wait', '--yes')).code).toBe(0);
    const open = await shell.run('unprotect', 'web-01', '--yes');
    expect(open.code).toBe(3);
    expect(open.stderr).toMatch(/failed over, not committed; commit that first/);
    expect((await shell.run('commit', 'web-01', '--wait', '--yes')).code).toBe(0);
    expect((await shell.run('unprotect', 'web-01', '--wait', '--yes')).code).toBe(0);
    expect((await show('web-01')).phase).toBe('Unprotected');
    const running = await shell.json('vm', 'list', '--side', 'recovery');
    expect(running.value).toMatchObject([{ name: 'web-01', state: 'Running' }]);
    await access(replica());
    const again = await shell.run('protect', 'web-01', '--wait', '--yes');
    expect(again).toMatchObject({ code: 3, stdout: '' });
    expect(again.stderr).toMatch(/web-01: it was failed over: its replica VM is Running at the recovery side/);
    await access(replica());
  },
);
