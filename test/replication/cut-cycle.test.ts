/** Cycles of a source that is no tracker of ours: it tells blocks by calls, knows no zeroes, and may lose what it has cut. */
import { describe, expect, test } from 'vitest';
import { CatalogueError } from '../../domain/errors.js';
import { vaultPaths, type CycleManifest } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { PART_LIMITS, type PartLimits } from '../../replication/change-parts.js';
import { cutCycle, releaseCycle } from '../../replication/cut-cycle.js';
import { prepareReplica } from '../../replication/replica.js';
import { copySlice } from '../../replication/seed.js';
import { readManifest, shipCycle } from '../../replication/ship.js';
import { verifySeed } from '../../replication/verify-seed.js';
import type { Cut } from '../../ports/change-source.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { MemoryHypervisor } from '../contracts/memory-hypervisor.js';
import { failsWith } from '../support/fails-with.js';
import { intercept } from './intercepted-store.js';
import { describeReplica, KiB, MiB, pattern, VM } from './model.js';
import { openStore, replaceRecord, replicaBytes } from './replica-fixture.js';

const DISKS = { os: 12 * MiB + 512, data: 2 * MiB };
const FIRST = { vm: VM, epoch: 1, sequence: 1 };

/** As far as an initial copy that has been verified; then something is written. */
async function begun() {
  const { store, folder } = await openStore();
  const source = new MemoryHypervisor();
  source.add(VM, DISKS);
  source.write(VM, 'os', pattern(9 * MiB, 1), MiB);
  await source.beginReplication(VM, 1);
  await prepareReplica(store, describeReplica(DISKS, 1), { epoch: 1, sequence: 0 });
  for (const disk of Object.keys(DISKS)) {
    const frozen = await source.openSnapshotDisk(VM, 1, disk);
    const fence = { epoch: 1, sequence: 0 };
    await copySlice(store, frozen, { vm: VM, disk, fromOffset: 0, maxBytes: Infinity, fence });
    await verifySeed(store, { vm: VM, disk, epoch: 1 });
  }
  while ((await source.mergeSnapshot(VM)) > 0);
  source.write(VM, 'os', pattern(6 * MiB, 2), 512);
  // Longer than what is held in memory, and zeroes that the source takes for data.
  source.write(VM, 'os', Buffer.alloc(5 * MiB), 7 * MiB);
  source.write(VM, 'data', pattern(4 * KiB, 3), 100 * KiB);
  return { store, folder, source };
}

const shipTo =
  (source: MemoryHypervisor, partLimits: PartLimits = PART_LIMITS) =>
  (store: ReplicaStore) =>
  async (cut: Cut): Promise<CycleManifest> => {
    const changes = await source.openChangeSet(cut);
    return await shipCycle(store, changes, cut, cut, { partLimits });
  };

async function expectReplica(folder: string, source: MemoryHypervisor): Promise<void> {
  for (const [disk, size] of Object.entries(DISKS)) {
    expect((await replicaBytes(folder, disk, size)).equals(source.contentOf(VM, disk))).toBe(true);
  }
}

test('the replica equals the disk, cycle by cycle', async () => {
  const { store, folder, source } = await begun();
  for (let sequence = 1; sequence <= 3; sequence += 1) {
    const task = { ...FIRST, sequence };
    const { manifest, isNew } = await cutCycle(source, store, task, shipTo(source)(store));
    expect(isNew).toBe(true);
    await releaseCycle(source, manifest);
    await applyCycle(store, task);
    await expectReplica(folder, source);
    if (sequence === 1) expect(manifest.disks[0]!.dataBytes).toBeLessThan(9 * MiB);
    expect(await cutCycle(source, store, task, () => Promise.reject(new Error('sent twice')))).toEqual({
      manifest,
      isNew: false,
    });
    source.write(VM, 'data', pattern(MiB, 10 + sequence), sequence * 512);
    source.write(VM, 'os', pattern(512, 20 + sequence), DISKS.os - 512);
  }
});

describe('a source that loses its cuts', () => {
  const write = (source: MemoryHypervisor) => source.write(VM, 'data', pattern(64 * KiB, 30), MiB);
  /** Two of the first disk. */
  const parts = { payload: 4 * MiB, rows: 1000 };

  test.each([
    ['before anything was sent', PART_LIMITS, vaultPaths.changes(VM, 1, 1, 'os')],
    ['when the first part is there', parts, vaultPaths.changesPart(VM, 1, 1, 'os', 1)],
  ])('%s: it is cut again, and nothing of the lost cut is applied', async (_, limits, when) => {
    const { store, folder, source } = await begun();
    const cuts: Cut[] = [];
    let losses = 0;
    const losing = intercept(store, 'every', {
      before: async (name) => {
        if (losses > 0 || name !== when) return;
        losses += 1;
        source.loseCuts(VM);
        write(source);
      },
    });
    const ship = shipTo(source, limits)(losing);
    const { manifest } = await cutCycle(source, losing, FIRST, async (cut) => {
      cuts.push(cut);
      return await ship(cut);
    });
    expect([losses, cuts.length]).toEqual([1, 2]);
    expect(manifest.disks.map(({ token }) => token)).toEqual(cuts[1]!.disks.map(({ token }) => token));
    await releaseCycle(source, manifest);
    await applyCycle(store, FIRST);
    await expectReplica(folder, source);
  });

  test('again and again, reports that', async () => {
    const { store, folder, source } = await begun();
    let cuts = 0;
    const ship = shipTo(source)(store);
    const losing = async (cut: Cut) => {
      cuts += 1;
      source.loseCuts(VM);
      return await ship(cut);
    };
    await failsWith('CutGone', cutCycle(source, store, FIRST, losing));
    expect(cuts).toBe(3);
    expect(await readManifest(store, VM, FIRST)).toBeUndefined();
    const { manifest } = await cutCycle(source, store, FIRST, ship);
    await releaseCycle(source, manifest);
    await applyCycle(store, FIRST);
    await expectReplica(folder, source);
  });

  test('after a manifest names the cut, requires a resynchronization', async () => {
    const { store, source } = await begun();
    const ship = shipTo(source)(store);
    const { manifest } = await cutCycle(source, store, FIRST, ship);
    source.loseCuts(VM);
    write(source);
    await failsWith('LogBroken', releaseCycle(source, manifest));
    // Not even when it has cut the cycle again meanwhile: that holds what the manifest does not.
    await source.cut(VM, FIRST);
    const again = await cutCycle(source, store, FIRST, ship);
    expect(again).toEqual({ manifest, isNew: false });
    await failsWith('LogBroken', releaseCycle(source, again.manifest));
  });

  test('a manifest of the lost cut that appears during the new cut is not replaced', async () => {
    const { store, source } = await begun();
    const ship = shipTo(source)(store);
    let first = true;
    const late = async (cut: Cut) => {
      if (!first) return await ship(cut);
      first = false;
      await ship(cut);
      // The other attempt, thought dead, has just made the cycle exist.
      source.loseCuts(VM);
      write(source);
      throw new CatalogueError('CutGone', 'lost');
    };
    const { manifest, isNew } = await cutCycle(source, store, FIRST, late);
    expect(isNew).toBe(false);
    await failsWith('LogBroken', releaseCycle(source, manifest));
  });

  test('a damaged manifest is made again from the same cut only', async () => {
    for (const isLost of [false, true]) {
      const { store, source } = await begun();
      const ship = shipTo(source)(store);
      const { manifest } = await cutCycle(source, store, FIRST, ship);
      await replaceRecord(store, vaultPaths.manifest(VM, 1, 1), Buffer.from('{'), FIRST);
      if (isLost) {
        source.loseCuts(VM);
        await failsWith('LogBroken', cutCycle(source, store, FIRST, ship));
        continue;
      }
      expect((await cutCycle(source, store, FIRST, ship)).manifest).toEqual(manifest);
      expect(await readManifest(store, VM, FIRST)).toEqual(manifest);
    }
  });
});
