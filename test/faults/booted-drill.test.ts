/** A test failover of a VM whose guest really boots, while the VM runs on and is replicated. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { testFailoverResultSchema } from '../../domain/drill.js';
import { vaultPaths } from '../../domain/vault.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { guestNetwork } from '../../sites/qemu/guest-network.js';
import { bootedTransactions } from '../../client/demo/guest/console.js';
import { bootedSite, VM } from './booted-site.js';

const TEST_VM = `${VM}-test`;

test('the test VM boots with the newest transaction of its recovery point, alone on its network, and leaves nothing', async (context) => {
  const { folder, data, farshore, failOver } = await bootedSite(context);
  const synced = async () => {
    const { sequence } = await farshore.sync(VM);
    await farshore.followVm(VM, (view) => (view?.item.applied?.sequence ?? 0) >= sequence);
  };
  await synced();
  const { jobId } = await farshore.testFailover(VM, { reason: 'a drill' });
  const job = await farshore.followJob(jobId);
  const result = testFailoverResultSchema.parse(job.result);
  expect(result).toMatchObject({ testVm: TEST_VM, booted: true, passed: true, network: TEST_VM });
  expect(result.checks).toMatchObject([
    { check: 'console: guest: ready', passed: true },
    { check: 'test -s /os/transactions', passed: true },
  ]);
  const console = await readFile(path.join(data.recoveryState(), 'test-vms', TEST_VM, '.guest', 'console.log'), 'utf8');
  const [booted] = bootedTransactions(console);
  expect(booted!.os).toBeGreaterThan(0);
  expect(booted!.os - booted!.data).toBeGreaterThanOrEqual(0);
  expect(booted!.os - booted!.data).toBeLessThanOrEqual(1);

  // It is on another network than the replica VM would be.
  const pid = (await readFile(path.join(data.recoveryNbd(), `${TEST_VM}.pid`), 'utf8')).trim();
  const qemu = await readFile(`/proc/${pid}/cmdline`, 'utf8');
  const { address, port } = guestNetwork(`${data.path}/recovery/test`, TEST_VM);
  const real = guestNetwork(`${data.path}/recovery`, 'recovery-lan');
  expect(qemu).toContain(`mcast=${address}:${port},`);
  expect(qemu).not.toContain(`mcast=${real.address}:${real.port},`);

  // The VM runs on, and its changes are sent as before.
  await synced();
  const during = (await farshore.protectedItem(VM))!;
  expect(during).toMatchObject({ health: 'Normal', item: { phase: 'Protected', drill: { testVm: TEST_VM } } });
  expect(during.item.shipped!.bytes).toBeGreaterThan(0);

  const screen = result.evidence.find(({ name }) => name.endsWith('screen.png'))!;
  const store = await EmbeddedReplicaStore.open(path.join(folder, 'store'));
  expect((await store.objects.get(screen.name))!.subarray(1, 4).toString()).toBe('PNG');
  // A real failover does not wait for the test, and has what was written since.
  const failedOver = await failOver('plannedFailover');
  expect(failedOver.os).toBeGreaterThan(booted!.os);
  await readFile(`/proc/${pid}/cmdline`);
  const cleaned = await farshore.cleanUpTestFailover(VM, 'it booted');
  expect(await farshore.followJob(cleaned.jobId)).toMatchObject({ state: 'Succeeded' });
  const after = await farshore.followVm(VM, (view) => view?.item.drill === undefined);
  expect(after!.item.lastDrill).toMatchObject({ outcome: 'passed', notes: 'it booted' });
  expect(await readdir(path.join(data.recoveryState(), 'test-vms'))).toEqual([]);
  expect(await store.objects.list(vaultPaths.leasePrefix(VM))).toEqual([]);
  await store.close();
  await expect(readFile(`/proc/${pid}/cmdline`)).rejects.toThrow(/ENOENT/);
});
