/** A test failover by the command, against a real instance that boots no guests; a guest that boots is in `booted-drill.test.ts`. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Answer } from '../../client/answers.js';
import { DataFolder } from '../../config/data-folder.js';
import { makeSite, Shell, siteYaml } from './command.js';

let shell: Shell;
beforeAll(async () => {
  shell = new Shell(await mkdtemp(join(tmpdir(), 'farshore-cli-')));
  await makeSite(shell);
  const taken = '  - name: db-01-test\n    host: h1\n    disks: [{ name: os, path: disks/taken.raw }]\n';
  await shell.write('site.yaml', siteYaml + taken);
  await shell.writeDisk('disks/taken.raw', 2 ** 20);
  expect((await shell.run('up', '--detach')).code).toBe(0);
  expect((await shell.run('protect', 'web-01', 'db-01', '--wait')).code).toBe(0);
}, 180_000);
afterAll(async () => {
  await shell.run('down');
  await rm(shell.folder, { recursive: true, force: true });
});

const show = async (vm: string) => (await shell.json('vm', 'show', vm)).value as Answer<'vm show'>;

test('what cannot be tested is refused before anything is started', { timeout: 180_000 }, async () => {
  for (const ttl of ['soon', '8', '30s', '15d']) {
    const refused = await shell.run('test-failover', 'web-01', '--ttl', ttl);
    expect(refused, ttl).toMatchObject({ code: 3, stdout: '' });
    expect(refused.stderr).toMatch(/such as 30m, 8h or 3d|from 1 min to 14 d/);
  }
  const unknown = await shell.run('test-failover', 'web-01', '--recovery-point', '0001-00009999');
  expect(unknown).toMatchObject({ code: 3, stdout: '' });
  expect(unknown.stderr).toMatch(/no recovery point "0001-00009999"; usable: 0001-\d+ \(crashConsistent, /);
  const taken = await shell.run('test-failover', 'db-01');
  expect(taken).toMatchObject({ code: 3, stdout: '' });
  expect(taken.stderr).toMatch(/would be named db-01-test, but the site file has a VM of this name/);
  const none = await shell.run('cleanup-test-failover', 'web-01');
  expect(none).toMatchObject({ code: 3, stderr: expect.stringContaining('there is no test failover to clean up') });
  expect((await show('web-01')).testFailover).toBeUndefined();
});

test(
  'a test VM is served beside the VM, says that it is not booted, and is cleaned up',
  { timeout: 180_000 },
  async () => {
    const started = await shell.json('test-failover', 'web-01', '--ttl', '8h', '--reason', 'a drill', '--wait');
    // Nothing was booted, so nothing was shown.
    expect(started).toMatchObject({
      code: 4,
      value: { job: { state: 'Succeeded', result: { testVm: 'web-01-test', booted: false, passed: false } } },
    });
    expect(started.stderr).toMatch(/has not passed: not booted.*\n.*farshore cleanup-test-failover web-01 --wait/);
    const during = await show('web-01');
    expect(during).toMatchObject({
      phase: 'Protected',
      health: 'Normal',
      testFailover: { testVm: 'web-01-test', booted: false, reason: 'a drill', network: 'web-01-test' },
      next: expect.stringMatching(/^farshore cleanup-test-failover web-01 --wait/),
    });
    const shown = (await shell.run('vm', 'show', 'web-01')).stdout;
    expect(shown).toMatch(
      /Test VM +web-01-test, from recovery point 0001-\d+ of .*; not booted.*; cleaned up automatically at/,
    );
    const recovery = (await shell.json('vm', 'list', '--side', 'recovery')).value as Answer<'vm list --side recovery'>;
    expect(recovery.vms).toMatchObject([{ vm: 'web-01-test', testOf: 'web-01', power: 'Running' }]);
    const status = (await shell.json('status')).value as Answer<'status'>;
    expect(status.vms.find(({ vm }) => vm === 'web-01')).toMatchObject({ testFailover: { testVm: 'web-01-test' } });
    expect(status.health).toBe('Normal');
    expect((await shell.run('status')).stdout).toMatch(/web-01 .*primary, test VM/);
    for (const refused of [
      ['test-failover', 'web-01'],
      ['unprotect', 'web-01', '--yes'],
    ]) {
      const { code, stderr } = await shell.run(...refused);
      expect(code).toBe(3);
      expect(stderr).toMatch(/farshore cleanup-test-failover web-01 --wait/);
    }
    expect((await shell.run('sync', 'web-01', '--wait')).code).toBe(0);

    const cleaned = await shell.json('cleanup-test-failover', 'web-01', '--notes', 'nothing to see', '--wait');
    expect(cleaned).toMatchObject({ code: 0, value: { job: { state: 'Succeeded', result: { testVmDeleted: true } } } });
    const after = await show('web-01');
    expect(after.testFailover).toBeUndefined();
    expect(after.lastTestFailover).toMatchObject({ outcome: 'notPassed', notes: 'nothing to see' });
    expect((await shell.run('vm', 'show', 'web-01')).stdout).toMatch(/Last test +.*: not passed: not booted/);
    expect(await shell.json('vm', 'list', '--side', 'recovery')).toMatchObject({ value: { vms: [] } });
    const data = new DataFolder(join(shell.folder, '.farshore'));
    expect(await readdir(join(data.recoveryState(), 'test-vms'))).toEqual([]);
    const { jobId } = started.value as { jobId: string };
    expect((await shell.run('job', 'show', jobId)).stdout).toMatch(/Test VM +web-01-test\n/);
  },
);
