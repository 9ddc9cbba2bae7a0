/** What every hypervisor promises beyond being a source of changes: what it tells of VMs, their power, and that it keeps them off. */
import { describe, expect, test } from 'vitest';
import { fencingKinds } from '../../domain/fencing.js';
import type { Hardware } from '../../domain/hardware.js';
import type { Hypervisor } from '../../ports/hypervisor.js';
import { applyChanges } from '../support/change-sets.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { failbackTargetContract } from './failback-target.js';

export interface HypervisorUnderTest {
  readonly hypervisor: Hypervisor;
  /** Running, and of zeroes. */
  readonly vm: string;
  readonly hardware: Hardware;
  /** Sizes of its disks, bytes; the first is written to. */
  readonly disks: Readonly<Record<string, number>>;
  /** As the guest does, to the first disk. */
  write(data: Buffer, offset: number): Promise<void>;
  contentOf(disk: string): Promise<Buffer>;
  /** Ends it, and starts it again on what it has on stable storage. Left out: it forgets everything. */
  restart?(): Promise<void>;
}

const KiB = 1024;

/** Of a VM under test with the disks `os` and `data`. */
export const HARDWARE: Hardware = {
  ...{ processors: 3, memoryBytes: 1024 ** 3, firmware: 'BIOS', secureBoot: false },
  disks: [
    { name: 'os', bus: 'IDE' },
    { name: 'data', bus: 'SCSI' },
  ],
  networkAdapters: [{ name: 'nic', addresses: [] }],
};

export function hypervisorContract(name: string, make: () => Promise<HypervisorUnderTest>): void {
  failbackTargetContract(name, make);
  const firstOf = ({ disks }: HypervisorUnderTest) => Object.keys(disks)[0]!;
  const trackingOf = async ({ hypervisor, vm }: HypervisorUnderTest) => (await hypervisor.describeVm(vm)).tracking;

  describe(`${name}: a hypervisor`, () => {
    test('describes its VMs: disks, hardware, and how it fences them', async () => {
      const { hypervisor, vm, hardware, disks } = await make();
      const found = await hypervisor.describeVm(vm);
      expect(found).toMatchObject({ name: vm, state: 'Running', hardware });
      expect(Object.fromEntries(found.disks.map((disk) => [disk.name, disk.size]))).toEqual(disks);
      expect(fencingKinds).toContain(found.fencing);
      expect(found.tracking).toBeUndefined();
      expect((await hypervisor.listVms()).filter((each) => each.name === vm)).toEqual([found]);
    });

    test('a VM that is shut down stays off until it is started', async () => {
      const under = await make();
      const { hypervisor, vm } = under;
      await under.write(content(4 * KiB, 1), 0);
      const { exportsClosedAt } = await hypervisor.shutDownVm(vm);
      await expect(under.write(content(4 * KiB, 2), 0)).rejects.toThrow();
      expect(await hypervisor.shutDownVm(vm)).toEqual({ exportsClosedAt });
      await under.restart?.();
      expect((await hypervisor.describeVm(vm)).state).toBe('Off');
      expect(await hypervisor.shutDownVm(vm)).toEqual({ exportsClosedAt });
      await hypervisor.turnOffVm(vm);
      expect((await hypervisor.describeVm(vm)).state).toBe('Off');
      await hypervisor.startVm(vm, 1);
      await hypervisor.startVm(vm, 1);
      await under.restart?.();
      expect((await hypervisor.describeVm(vm)).state).toBe('Running');
      expect((await under.contentOf(firstOf(under))).subarray(0, 4 * KiB).equals(content(4 * KiB, 1))).toBe(true);
    });

    test('a VM that is turned off is off immediately', async () => {
      const under = await make();
      const { hypervisor, vm } = under;
      await hypervisor.turnOffVm(vm);
      await hypervisor.turnOffVm(vm);
      expect((await hypervisor.describeVm(vm)).state).toBe('Off');
      await expect(under.write(content(4 * KiB, 2), 0)).rejects.toThrow();
    });

    test("a VM that is fenced by an epoch can't be used under an older one", async () => {
      const under = await make();
      const { hypervisor, vm } = under;
      await hypervisor.beginReplication(vm, 2);
      await hypervisor.shutDownVm(vm);
      await hypervisor.fenceVm(vm, 4);
      await hypervisor.fenceVm(vm, 4);
      // It never goes down.
      await hypervisor.fenceVm(vm, 3);
      await under.restart?.();
      await failsWith('StaleEpoch', hypervisor.startVm(vm, 3));
      await failsWith('StaleEpoch', hypervisor.cut(vm, { epoch: 2, sequence: 1 }));
      await failsWith('StaleEpoch', hypervisor.snapshotAndCut(vm, { epoch: 2, sequence: 1 }));
      await failsWith('StaleEpoch', hypervisor.beginReplication(vm, 3));
      expect((await hypervisor.describeVm(vm)).state).toBe('Off');
      await hypervisor.startVm(vm, 4);
      expect((await hypervisor.describeVm(vm)).state).toBe('Running');
      // What was tracked under an older epoch nobody can send.
      expect(await trackingOf(under)).toBeUndefined();
    });

    test('a VM that is started again in its own epoch is still tracked; a final cut no longer holds everything', async () => {
      const under = await make();
      const { hypervisor, vm } = under;
      const disk = firstOf(under);
      await hypervisor.beginReplication(vm, 1);
      await under.write(content(8 * KiB, 1), 16 * KiB);
      await hypervisor.shutDownVm(vm);
      const last = await hypervisor.cut(vm, { epoch: 1, sequence: 1 });
      expect(last.final).toBe(true);
      const lastWrite = (await trackingOf(under))!.lastWrites[disk];
      expect(last.disks.find((each) => each.name === disk)!.lastWrite).toBe(lastWrite);
      await hypervisor.startVm(vm, 1);
      await under.restart?.();
      await under.write(content(4 * KiB, 2), 20 * KiB);
      expect((await trackingOf(under))!.lastWrites[disk]).not.toBe(lastWrite);
      const next = await hypervisor.cut(vm, { epoch: 1, sequence: 2 });
      expect(next.final).toBe(false);
      const copies = new Map(Object.entries(under.disks).map(([each, size]) => [each, Buffer.alloc(size)]));
      for (const cut of [last, next]) await applyChanges(await hypervisor.openChangeSet(cut), copies);
      expect(copies.get(disk)!.equals(await under.contentOf(disk))).toBe(true);
    });

    test('snapshots of a VM that is off equal its disks', async () => {
      const under = await make();
      const { hypervisor, vm } = under;
      const disk = firstOf(under);
      await under.write(content(64 * KiB, 5), 32 * KiB);
      const before = await under.contentOf(disk);
      await hypervisor.shutDownVm(vm);
      await hypervisor.beginReplication(vm, 1);
      await under.restart?.();
      const frozen = await hypervisor.openSnapshotDisk(vm, 1, disk);
      const bytes = Buffer.alloc(frozen.size);
      await frozen.read(bytes, 0);
      await frozen.close();
      expect(bytes.equals(before)).toBe(true);
      while ((await hypervisor.mergeSnapshot(vm)) > 0);
      expect(await hypervisor.cut(vm, { epoch: 1, sequence: 1 })).toMatchObject({ final: true });
      await hypervisor.startVm(vm, 1);
      expect((await under.contentOf(disk)).equals(before)).toBe(true);
    });

    test('reports an unknown VM', async () => {
      const { hypervisor } = await make();
      const calls = [
        hypervisor.describeVm('nobody'),
        hypervisor.startVm('nobody', 1),
        hypervisor.shutDownVm('nobody'),
        hypervisor.turnOffVm('nobody'),
        hypervisor.fenceVm('nobody', 1),
        hypervisor.beginReplication('nobody', 1),
        hypervisor.endReplication('nobody'),
        hypervisor.mergeSnapshot('nobody'),
        hypervisor.openSnapshotDisk('nobody', 1, 'os'),
      ];
      for (const call of calls) await failsWith('VmNotFound', call);
    });
  });
}
