/** Test failovers while the processes of the recovery site are killed at any instant: each ends, and nothing is left of it. */
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { withReplicaStore } from '../../local/open-replica-store.js';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';
import { startStore, storeAdapters } from './store-under-test.js';

const MiB = 1024 * 1024;
const [AZURE, COMPUTE] = ['azure-vault-01', 'recovery-compute'];
/** What is killed during the test failover, and what during its clean-up. */
const KILLED = { embedded: [AZURE, COMPUTE], azure: [COMPUTE, AZURE] } as const;
/** A test failover takes about as long. */
const WITHIN_MS = 1_500;

test.for(storeAdapters)(
  'a test failover on an %s store is cleaned up whatever was killed meanwhile',
  { timeout: 400_000 },
  async (adapter, context) => {
    requireReader('qemu-img', context);
    const folder = await temporaryFolder();
    const store = await startStore(adapter, folder, context);
    await mkdir(path.join(folder, 'source'));
    const site = await SmallSite.start(folder, 'source', {
      ...{ dataBytes: MiB, store: store.siteText, environment: store.environment },
    });
    const { farshore } = site;
    const kill = async (name: string) => {
      await sleep(Math.random() * WITHIN_MS);
      await site.killAndReturn(name);
    };
    try {
      await farshore.protect(VM);
      await site.until(
        ({ item }) => item.phase === 'Protected' && item.job === undefined && item.applied !== undefined,
      );
      await site.write(MiB, MiB);
      await site.syncNow();
      await farshore.testFailover(VM);
      await kill(KILLED[adapter][0]);
      const { item } = await site.untilRetried((view) => view.item.drill?.cleanUpAt !== undefined);
      // Nothing boots here, but it runs, from the newest point.
      expect(item.drill).toMatchObject({ tested: { recoveryPoint: item.latestRecoveryPoint, booted: false } });
      expect(item.drill!.problem).toBeUndefined();
      await site.write(MiB, 8 * MiB);
      const sequence = await site.sync();
      await farshore.cleanUpTestFailover(VM, 'it runs');
      await kill(KILLED[adapter][1]);
      const done = await site.untilRetried((view) => view.item.drill === undefined);
      expect(done.item.lastDrill).toMatchObject({ outcome: 'notPassed', notes: 'it runs' });
      await site.untilRetried((view) => (view.item.applied?.sequence ?? 0) >= sequence);
      expect(await readdir(path.join(folder, 'data', 'recovery', 'state', 'test-vms'))).toEqual([]);
      const leases = withReplicaStore(farshore.site.vault.store, ({ objects }) =>
        objects.list(vaultPaths.leasePrefix(VM)),
      );
      expect(await leases).toEqual([]);
      await site.expectEqual({ replicaOf: (disk) => store.replica(VM, disk) });
    } finally {
      await site.stop();
      await store.stop();
    }
  },
);
