/**
 * What compute at the recovery site promises beyond being a source of changes: replica VMs, made from recovery points, that run
 * under one epoch only, and that can tell from the beginning what is written to them.
 */
import { describe, expect, test } from 'vitest';
import type { Hardware } from '../../domain/hardware.js';
import { totalLength, type Range } from '../../domain/ranges.js';
import { replicaSizeOf } from '../../replication/replica.js';
import type { RecoveryCompute, ReplicaVmSpec } from '../../ports/recovery-compute.js';
import { applyChanges } from '../support/change-sets.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';

export interface ComputeUnderTest {
  readonly compute: RecoveryCompute;
  /** See `computeSpec`. */
  readonly spec: ReplicaVmSpec;
  /** The store takes the right to write away from everyone under an older epoch. */
  raiseFence(epoch: number): Promise<void>;
  /** As its guest reads it, while the VM runs; by disk. */
  contents(): Promise<ReadonlyMap<string, Buffer>>;
  /** What the recovery point holds. */
  readonly point: ReadonlyMap<string, Buffer>;
  /** As the guest does, to the first disk. */
  write(data: Buffer, offset: number): Promise<void>;
  /** Ends it, and starts it again on what it has on stable storage. Left out: it forgets everything. */
  restart?(): Promise<void>;
}

const KiB = 1024;
const MiB = 1024 * KiB;

const HARDWARE: Hardware = {
  ...{ processors: 4, memoryBytes: 2 ** 33, firmware: 'UEFI', secureBoot: false },
  disks: [{ name: 'os', bus: 'SCSI' }],
  networkAdapters: [{ name: 'nic', macAddress: '00:15:5D:01:02:03', addresses: ['10.0.0.5', 'fd00::5'] }],
};

interface DiskOfSpec {
  /** Bytes. */
  readonly size: number;
  /** Of its replica: the recovery point. */
  readonly snapshot: string;
}

/** @param disks the first is `os`. */
export const computeSpec = (vm: string, disks: Readonly<Record<string, DiskOfSpec>>, epoch = 4): ReplicaVmSpec => ({
  description: {
    ...{ vm, host: 'host-1', vmmServer: 'vmm-1', generation: 2, size: 'Standard_D2s_v5', osDisk: 'os' },
    epoch: Math.max(1, epoch - 1),
    disks: Object.entries(disks).map(([name, { size }]) => ({ name, size, replicaSize: replicaSizeOf(size) })),
    networkAdapters: [],
    hardware: HARDWARE,
    finalized: true,
  },
  epoch,
  disks: Object.entries(disks).map(([disk, { snapshot }]) => ({ name: disk, replica: { vm, disk }, snapshot })),
});

export function recoveryComputeContract(name: string, make: () => Promise<ComputeUnderTest>): void {
  const created = async () => {
    const made = await make();
    await made.compute.createVm(made.spec);
    return { ...made, vm: made.spec.description.vm };
  };

  describe(`${name}: compute at the recovery site`, () => {
    test('a replica VM is created once, powered off, as described', async () => {
      const { compute, spec } = await make();
      expect(await compute.listVms()).toEqual([]);
      await compute.createVm(spec);
      await compute.createVm(spec);
      const { vm, disks, hardware } = spec.description;
      const found = await compute.listVms();
      expect(found).toMatchObject([{ name: vm, state: 'Off', fencing: 'enforced', hardware: hardware! }]);
      expect(found[0]!.disks.map((disk) => [disk.name, disk.size])).toEqual(
        disks.map((disk) => [disk.name, disk.size]),
      );
      expect(await compute.describeVm(vm)).toEqual(found[0]);
      await failsWith('InvalidVmState', compute.createVm({ ...spec, epoch: spec.epoch + 1 }));
    });

    test('a replica VM runs from its recovery point, and keeps its writes', async () => {
      const { compute, spec, vm, contents, point, write } = await created();
      expect(await compute.startVm(vm, spec.epoch)).toMatchObject({ name: vm, state: 'Running' });
      expect(await compute.startVm(vm, spec.epoch)).toMatchObject({ state: 'Running' });
      for (const [disk, bytes] of point) expect((await contents()).get(disk)!.equals(bytes)).toBe(true);
      await write(Buffer.alloc(4096, 7), 8192);
      await compute.turnOffVm(vm);
      await compute.turnOffVm(vm);
      expect(await compute.listVms()).toMatchObject([{ state: 'Off' }]);
      await expect(write(Buffer.alloc(512, 8), 0)).rejects.toThrow();
      await compute.startVm(vm, spec.epoch);
      const [[disk, bytes]] = [...point] as [[string, Buffer]];
      const after = Buffer.from(bytes);
      after.fill(7, 8192, 8192 + 4096);
      expect((await contents()).get(disk)!.equals(after)).toBe(true);
    });

    test('a replica VM is neither created, started nor replicated under an older epoch', async () => {
      const { compute, spec, vm, raiseFence } = await created();
      await failsWith('StaleEpoch', compute.startVm(vm, spec.epoch - 1));
      await failsWith('StaleEpoch', compute.beginReplication(vm, spec.epoch - 1));
      await raiseFence(spec.epoch + 1);
      await failsWith('StaleEpoch', compute.startVm(vm, spec.epoch));
      await failsWith('StaleEpoch', compute.beginReplication(vm, spec.epoch));
      expect(await compute.listVms()).toMatchObject([{ state: 'Off' }]);
      expect(await compute.startVm(vm, spec.epoch + 1)).toMatchObject({ state: 'Running' });
      await compute.deleteVm(vm);
      await failsWith('StaleEpoch', compute.createVm(spec));
    });

    test('a deleted replica VM is gone with all its writes, and can be created again', async () => {
      const { compute, spec, vm, contents, point, write } = await created();
      await compute.startVm(vm, spec.epoch);
      await write(Buffer.alloc(4096, 7), 0);
      await compute.deleteVm(vm);
      await compute.deleteVm(vm);
      expect(await compute.listVms()).toEqual([]);
      await failsWith('VmNotFound', compute.startVm(vm, spec.epoch));
      await failsWith('VmNotFound', compute.turnOffVm(vm));
      await failsWith('VmNotFound', compute.describeVm(vm));
      await failsWith('VmNotFound', compute.beginReplication(vm, spec.epoch));
      await compute.createVm(spec);
      await compute.startVm(vm, spec.epoch);
      for (const [disk, bytes] of point) expect((await contents()).get(disk)!.equals(bytes)).toBe(true);
    });

    test('a request for an older replica VM neither stops nor deletes the one that has replaced it', async () => {
      const { compute, spec, vm } = await created();
      await compute.startVm(vm, spec.epoch);
      await compute.turnOffVm(vm, { madeBefore: spec.epoch });
      await compute.deleteVm(vm, { madeBefore: spec.epoch });
      expect(await compute.listVms()).toMatchObject([{ name: vm, state: 'Running' }]);
      await compute.turnOffVm(vm, { madeBefore: spec.epoch + 1 });
      expect(await compute.listVms()).toMatchObject([{ name: vm, state: 'Off' }]);
      await compute.deleteVm(vm, { madeBefore: spec.epoch + 1 });
      await compute.deleteVm(vm, { madeBefore: spec.epoch + 1 });
      expect(await compute.listVms()).toEqual([]);
    });

    test('changes are tracked from the first write on: the point plus the cuts equals the disk', async () => {
      const under = await created();
      const { compute, spec, vm, contents, point, write } = under;
      await compute.beginReplication(vm, spec.epoch);
      await under.restart?.();
      await compute.beginReplication(vm, spec.epoch);
      expect(await compute.describeVm(vm)).toMatchObject({ state: 'Off', tracking: { epoch: spec.epoch } });
      const copies = new Map<string, Buffer>();
      for (const [disk, bytes] of point) {
        const frozen = await compute.openSnapshotDisk(vm, spec.epoch, disk);
        const copy = Buffer.alloc(frozen.size);
        await frozen.read(copy, 0);
        await frozen.close();
        expect(copy.equals(bytes)).toBe(true);
        copies.set(disk, copy);
      }

      await compute.startVm(vm, spec.epoch);
      await write(content(8 * KiB, 1), 60 * KiB);
      const first = await compute.cut(vm, { epoch: spec.epoch, sequence: 1 });
      await write(Buffer.alloc(4 * KiB), 0);
      await write(content(4 * KiB, 2), 64 * KiB);
      while ((await compute.mergeSnapshot(vm)) > 0);
      await write(content(4 * KiB, 3), 66 * KiB);
      await under.restart?.();
      const after = await contents();
      await compute.turnOffVm(vm);
      const second = await compute.cut(vm, { epoch: spec.epoch, sequence: 2 });
      expect([first.final, second.final]).toEqual([false, true]);
      for (const cut of [first, second]) {
        await applyChanges(await compute.openChangeSet(cut), copies);
        await compute.releaseCuts(cut);
      }
      for (const disk of point.keys()) expect(copies.get(disk)!.equals(after.get(disk)!)).toBe(true);
    });

    test('lists where a disk was written since it was created; elsewhere, the disk equals its point', async () => {
      const under = await created();
      const { compute, spec, vm, contents, point, write } = under;
      const [disk] = [...point.keys()] as [string];
      for (const each of point.keys()) expect(await written(compute, vm, each)).toEqual([]);
      await compute.startVm(vm, spec.epoch);
      await write(content(4 * KiB, 1), 4 * KiB);
      await write(content(200 * KiB, 2), MiB - 100 * KiB);
      const before = await contents();
      const ofBefore = await written(compute, vm, disk);
      expectToCover(ofBefore, point.get(disk)!, before.get(disk)!);
      // Less than the disk: what was not written need not be read.
      expect(totalLength(ofBefore)).toBeLessThan(MiB);

      await compute.beginReplication(vm, spec.epoch);
      const frozen = await compute.openSnapshotDisk(vm, spec.epoch, disk);
      const copy = Buffer.from(point.get(disk)!);
      for (const { offset, length } of await written(compute, vm, disk)) {
        await frozen.read(copy.subarray(offset, offset + length), offset);
      }
      await frozen.close();
      expect(copy.equals(before.get(disk)!)).toBe(true);

      // Above the snapshot, while it is merged, and when it is.
      await write(content(4 * KiB, 3), 512 * KiB);
      const after = (await contents()).get(disk)!;
      for (let left = 1; left > 0; left = await compute.mergeSnapshot(vm)) {
        expectToCover(await written(compute, vm, disk), point.get(disk)!, after);
      }
      expectToCover(await written(compute, vm, disk), point.get(disk)!, after);
      await compute.turnOffVm(vm);
      await under.restart?.();
      expectToCover(await written(compute, vm, disk), point.get(disk)!, after);
      await failsWith('DiskMissing', written(compute, vm, 'no-such-disk'));
      await failsWith('VmNotFound', written(compute, 'nobody', disk));
    });
  });
}

async function written(compute: RecoveryCompute, vm: string, disk: string): Promise<Range[]> {
  const ranges: Range[] = [];
  for await (const some of compute.listWritten(vm, disk)) ranges.push(...some);
  return ranges;
}

/** All that differs, in ranges that are as they should be. */
function expectToCover(ranges: readonly Range[], before: Buffer, after: Buffer): void {
  const covered = Buffer.from(before);
  let previousEnd = 0;
  for (const { offset, length } of ranges) {
    expect([offset % 512, length % 512]).toEqual([0, 0]);
    expect(offset).toBeGreaterThanOrEqual(previousEnd);
    expect(length).toBeGreaterThan(0);
    previousEnd = offset + length;
    after.copy(covered, offset, offset, previousEnd);
  }
  expect(previousEnd).toBeLessThanOrEqual(after.length);
  expect(covered.equals(after)).toBe(true);
}
