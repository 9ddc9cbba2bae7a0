/** `farshore hypervisor` and `farshore recovery-compute`: started each by itself, by the site file and the data folder alone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { DataFolder } from '../../dist/config/data-folder.js';
import { HypervisorClient, RecoveryComputeClient } from '../../sites/hypervisor/control-client.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { cliPath, makeSite, Shell } from './command.js';

let shell: Shell;
let data: DataFolder;
beforeEach(async () => {
  shell = new Shell(await temporaryFolder(), { TEMPORAL_ADDRESS: '127.0.0.1:1' });
  await makeSite(shell);
  data = new DataFolder(path.join(shell.folder, '.farshore'));
  onTestFinished(() => data.removeInstance());
});

/** Resolves with the line that it prints when it is ready. */
async function start(...args: string[]) {
  const child = spawn(process.execPath, [cliPath, ...args], { cwd: shell.folder, env: shell.env });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stderr.resume();
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  const [ready] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    ended.then((code) => Promise.reject(new Error(`${args.join(' ')} ended with ${code}`))),
  ]);
  const stop = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  return { ready: ready as string, stop };
}

async function found(check: string): Promise<object[]> {
  const { value } = await shell.json('doctor');
  return (value as { checks: { check: string }[] }).checks.filter((one) => one.check === check);
}

test('the hypervisor of a host answers, runs only once, and ends when told to', async () => {
  expect(await found('Hypervisor of h1')).toMatchObject([{ status: 'skipped' }]);
  const first = await start('hypervisor', '--host', 'h1');
  expect(first.ready).toBe(`the hypervisor of h1 is ready: ${data.hypervisorControl('h1')}`);
  const client = new HypervisorClient(data.hypervisorControl('h1'));
  expect((await client.listVms()).map(({ name }) => name)).toEqual(['web-01', 'db-01']);
  expect(await found('Hypervisor of h1')).toMatchObject([{ status: 'ok', message: 'answers and knows 2 VMs' }]);
  expect(await found('Disks of h1')).not.toMatchObject([{ status: 'skipped' }]);

  const second = await shell.run('hypervisor', '--host', 'h1');
  expect(second).toMatchObject({ code: 3, stdout: '' });
  expect(second.stderr).toBe(
    `farshore: the hypervisor of h1 can't run: another hypervisor is using ${data.hypervisorState('h1')}; ` +
      'end that process first, or choose another folder with --data\n',
  );
  expect(await client.listVms()).toHaveLength(2);

  expect(await first.stop('SIGTERM')).toBe(0);
  const again = await start('hypervisor', '--host', 'h1', '--json');
  expect(await client.listVms()).toHaveLength(2);
  expect(await again.stop('SIGINT')).toBe(0);
});

test('the recovery compute answers, runs only once, and needs the store', async () => {
  const without = await shell.run('recovery-compute');
  expect({ code: without.code, stderr: without.stderr }).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('Remedy: '),
  });
  expect(await found('Recovery compute')).toMatchObject([{ status: 'skipped' }]);
  await EmbeddedReplicaStore.open(path.join(shell.folder, 'vault'), { create: true }).then((store) => store.close());
  const first = await start('recovery-compute');
  expect(first.ready).toBe(`the recovery compute is ready: ${data.recoveryControl()}`);
  expect(await new RecoveryComputeClient(data.recoveryControl()).listVms()).toEqual([]);
  expect(await found('Recovery compute')).toMatchObject([{ status: 'ok' }]);
  const second = await shell.run('recovery-compute');
  expect(second.code).toBe(3);
  expect(second.stderr).toContain(
    `the recovery compute can't run: another hypervisor is using ${data.recoveryState()}`,
  );
  expect(await first.stop('SIGTERM')).toBe(0);
});

test('refuses a host that is missing from the site file, and a data folder that an instance holds', async () => {
  const unknown = await shell.run('hypervisor', '--host', 'h2');
  const file = path.join(shell.folder, 'site.yaml');
  const error = `farshore: the site file ${file} has no host h2; it has: h1\n`;
  expect(unknown).toEqual({ code: 3, stdout: '', stderr: error });

  const hold = await data.hold();
  onTestFinished(() => hold.close());
  for (const args of [['hypervisor', '--host', 'h1'], ['recovery-compute']]) {
    const { code, stderr } = await shell.run(...args);
    expect({ code, stderr }).toMatchObject({ code: 3, stderr: expect.stringContaining('`farshore up` holds') });
  }
});
