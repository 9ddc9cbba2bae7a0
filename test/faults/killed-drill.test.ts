/** Test failovers while the processes of the recovery site are killed at any instant: each ends, and nothing is left of it. */
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;
const DRILLS = 2;
/** A test failover takes about as long. */
const WITHIN_MS = 1_500;

test('a test failover is cleaned up whatever was killed meanwhile', { timeout: 400_000 }, async (context) => {
  requireReader('qemu-img', context);
  const folder = await temporaryFolder();
  await mkdir(path.join(folder, 'source'));
  const site = await SmallSite.start(folder, 'source', { dataBytes: MiB });
  const { farshore } = site;
  const kill = async (name: string) => {
    await sleep(Math.random() * WITHIN_MS);
    await site.killAndReturn(name);
  };
  try {
    await farshore.protect(VM);
    await site.until(({ item }) => item.phase === 'Protected' && item.job === undefined && item.applied !== undefined);
    for (let drill = 0; drill < DRILLS; drill += 1) {
      await site.write(MiB, drill * MiB);
      await site.syncNow();
      const [victim, other] =
        drill % 2 === 0 ? ['azure-vault-01', 'recovery-compute'] : ['recovery-compute', 'azure-vault-01'];
      await farshore.testFailover(VM);
      await kill(victim!);
      const { item } = await site.untilRetried((view) => view.item.drill?.cleanUpAt !== undefined);
      // Nothing boots here, but it runs, from the newest point.
      expect(item.drill).toMatchObject({ tested: { recoveryPoint: item.latestRecoveryPoint, booted: false } });
      expect(item.drill!.problem).toBeUndefined();
      await site.write(MiB, 8 * MiB);
      const sent = site.sync();
      await farshore.cleanUpTestFailover(VM, `drill ${drill}`);
      await kill(other!);
      const done = await site.untilRetried((view) => view.item.drill === undefined);
      expect(done.item.lastDrill).toMatchObject({ outcome: 'notPassed', notes: `drill ${drill}` });
      const sequence = await sent;
      await site.untilRetried((view) => (view.item.applied?.sequence ?? 0) >= sequence);
      expect(await readdir(path.join(folder, 'data', 'recovery', 'state', 'test-vms'))).toEqual([]);
    }
    const store = await EmbeddedReplicaStore.open(path.join(folder, 'store'));
    expect(await store.objects.list(vaultPaths.leasePrefix(VM))).toEqual([]);
    await store.close();
    await site.expectEqual();
  } finally {
    await site.stop();
  }
});
