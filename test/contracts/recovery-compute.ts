/** What compute at the recovery site promises: replica VMs, made from recovery points, that run under one epoch only. */
import { describe, expect, test } from 'vitest';
import type { Hardware } from '../../domain/hardware.js';
import { replicaSizeOf } from '../../replication/replica.js';
import type { RecoveryCompute, ReplicaVmSpec } from '../../ports/recovery-compute.js';
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
}

const HARDWARE: Hardware = {
  ...{ processors: 4, memoryBytes: 2 ** 33, firmware: 'UEFI', secureBoot: false },
  disks: [{ name: 'os', bus: 'SCSI' }],
  networkAdapters: [{ name: 'nic', macAddress: '00:15:5D:01:02:03', addresses: ['10.0.0.5', 'fd00::5'] }],
};

/** Of one disk, `os`, of so many bytes, whose recovery point is a snapshot of its replica. */
export const computeSpec = (vm: string, size: number, snapshot: string): ReplicaVmSpec => ({
  description: {
    ...{ vm, host: 'host-1', vmmServer: 'vmm-1', epoch: 3, generation: 2, size: 'Standard_D2s_v5', osDisk: 'os' },
    disks: [{ name: 'os', size, replicaSize: replicaSizeOf(size) }],
    networkAdapters: [],
    hardware: HARDWARE,
    finalized: true,
  },
  epoch: 4,
  disks: [{ name: 'os', replica: { vm, disk: 'os' }, snapshot }],
});

export function recoveryComputeContract(name: string, make: () => Promise<ComputeUnderTest>): void {
  const created = async () => {
    const made = await make();
    await made.compute.createVm(made.spec);
    return { ...made, vm: made.spec.description.vm };
  };

  describe(`${name}: compute at the recovery site`, () => {
    test('a replica VM is made once, powered off, as it is described', async () => {
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
      await failsWith('InvalidVmState', compute.createVm({ ...spec, epoch: spec.epoch + 1 }));
    });

    test('it runs from its recovery point, and keeps what is written to it', async () => {
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

    test('under an older epoch it is neither made nor started', async () => {
      const { compute, spec, vm, raiseFence } = await created();
      await failsWith('StaleEpoch', compute.startVm(vm, spec.epoch - 1));
      await raiseFence(spec.epoch + 1);
      await failsWith('StaleEpoch', compute.startVm(vm, spec.epoch));
      expect(await compute.listVms()).toMatchObject([{ state: 'Off' }]);
      expect(await compute.startVm(vm, spec.epoch + 1)).toMatchObject({ state: 'Running' });
      await compute.deleteVm(vm);
      await failsWith('StaleEpoch', compute.createVm(spec));
    });

    test('deleted, it is gone with all that was written, and can be made anew', async () => {
      const { compute, spec, vm, contents, point, write } = await created();
      await compute.startVm(vm, spec.epoch);
      await write(Buffer.alloc(4096, 7), 0);
      await compute.deleteVm(vm);
      await compute.deleteVm(vm);
      expect(await compute.listVms()).toEqual([]);
      await failsWith('VmNotFound', compute.startVm(vm, spec.epoch));
      await failsWith('VmNotFound', compute.turnOffVm(vm));
      await compute.createVm(spec);
      await compute.startVm(vm, spec.epoch);
      for (const [disk, bytes] of point) expect((await contents()).get(disk)!.equals(bytes)).toBe(true);
    });
  });
}
