/** What a hypervisor promises of VMs that are brought back from the recovery site. */
import { describe, expect, test } from 'vitest';
import type { FailbackDisk } from '../../ports/failback-target.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import type { HypervisorUnderTest } from './hypervisor.js';

const KiB = 1024;
const EPOCH = 3;
const cycle = (sequence: number, epoch = EPOCH) => ({ epoch, sequence });

/** The first 64 KiB of a disk. */
async function beginningOf(disk: FailbackDisk): Promise<Buffer> {
  const found = Buffer.alloc(64 * KiB);
  await disk.read(found, 0);
  return found;
}

export function failbackTargetContract(name: string, make: () => Promise<HypervisorUnderTest>): void {
  /** A VM that has written and was shut down. */
  const off = async () => {
    const under = await make();
    const [disk] = Object.keys(under.disks) as [string];
    await under.write(content(64 * KiB, 1), 0);
    await under.hypervisor.shutDownVm(under.vm);
    await under.hypervisor.fenceVm(under.vm, EPOCH - 1);
    return { ...under, disk };
  };
  /** With layers that hold one change set. */
  const received = async () => {
    const under = await off();
    await under.hypervisor.beginFailback(under.vm, EPOCH);
    const layers = (await under.hypervisor.openFailback(under.vm, cycle(0)))!;
    await layers.disk(under.disk).write(content(4 * KiB, 2), 8 * KiB);
    await layers.disk(under.disk).writeZeroes({ offset: 32 * KiB, length: 4 * KiB });
    await layers.complete();
    await layers.close();
    const merged = content(64 * KiB, 1);
    content(4 * KiB, 2).copy(merged, 8 * KiB);
    merged.fill(0, 32 * KiB, 36 * KiB);
    return { ...under, merged };
  };
  const beginning = (bytes: Buffer) => bytes.subarray(0, 64 * KiB);

  describe(`${name}: bringing a VM back`, () => {
    test('change sets are received above the original disk, and the VM starts with them', async () => {
      const under = await received();
      const { hypervisor, vm, disk, merged } = under;
      await under.restart?.();
      expect((await hypervisor.describeVm(vm)).failback).toMatchObject({ epoch: EPOCH, received: 0 });
      expect(await hypervisor.openFailback(vm, cycle(0)), 'they hold it').toBeUndefined();
      const layers = (await hypervisor.openFailback(vm, cycle(1)))!;
      expect((await beginningOf(layers.disk(disk))).equals(merged)).toBe(true);
      await layers.complete();
      await hypervisor.startVm(vm, EPOCH + 1);
      await under.restart?.();
      expect(beginning(await under.contentOf(disk)).equals(merged)).toBe(true);
    });

    test('layers that are discarded leave the original disk as it was', async () => {
      const under = await received();
      const { hypervisor, vm, disk } = under;
      await hypervisor.startVm(vm, EPOCH + 1);
      await under.write(content(8 * KiB, 3), 0);
      await failsWith('InvalidVmState', hypervisor.discardFailback(vm, EPOCH + 1));
      await hypervisor.shutDownVm(vm);
      await hypervisor.discardFailback(vm, EPOCH - 1);
      expect((await hypervisor.describeVm(vm)).failback, 'only those of that epoch or an older one').toBeDefined();
      await hypervisor.discardFailback(vm, EPOCH + 1);
      await hypervisor.discardFailback(vm, EPOCH + 1);
      await under.restart?.();
      expect((await hypervisor.describeVm(vm)).failback).toBeUndefined();
      await hypervisor.startVm(vm, EPOCH + 2);
      expect(beginning(await under.contentOf(disk)).equals(content(64 * KiB, 1))).toBe(true);
    });

    test('committed layers are merged into the disk while the VM runs, and cannot be discarded', async () => {
      const under = await received();
      const { hypervisor, vm, disk, merged } = under;
      await hypervisor.startVm(vm, EPOCH + 1);
      await failsWith('InvalidVmState', hypervisor.mergeSnapshot(vm));
      await failsWith('InvalidVmState', hypervisor.beginReplication(vm, EPOCH + 2));
      await hypervisor.commitFailback(vm, EPOCH + 1);
      await hypervisor.commitFailback(vm, EPOCH + 1);
      await under.restart?.();
      await under.write(content(4 * KiB, 4), 0);
      content(4 * KiB, 4).copy(merged, 0);
      while ((await hypervisor.mergeSnapshot(vm)) > 0);
      await hypervisor.commitFailback(vm, EPOCH + 1);
      expect((await hypervisor.describeVm(vm)).failback).toBeUndefined();
      expect(beginning(await under.contentOf(disk)).equals(merged)).toBe(true);
      await hypervisor.beginReplication(vm, EPOCH + 2);
    });

    test('committed layers that are still to be merged do not stand in the way of replication', async () => {
      const { hypervisor, vm, disk, merged, contentOf } = await received();
      await hypervisor.startVm(vm, EPOCH + 1);
      await hypervisor.commitFailback(vm, EPOCH + 1);
      await hypervisor.beginReplication(vm, EPOCH + 2);
      expect((await hypervisor.describeVm(vm)).failback).toBeUndefined();
      expect(beginning(await contentOf(disk)).equals(merged)).toBe(true);
      await hypervisor.endReplication(vm);
      await hypervisor.shutDownVm(vm);
      expect(await hypervisor.beginFailback(vm, EPOCH + 4)).toMatchObject({ epoch: EPOCH + 4 });
    });

    test('change sets are taken in order, and a second receiver shuts the first one out', async () => {
      const { hypervisor, vm, disk } = await off();
      await failsWith('InvalidVmState', hypervisor.openFailback(vm, cycle(0)));
      await hypervisor.beginFailback(vm, EPOCH);
      await failsWith('OutOfSequence', hypervisor.openFailback(vm, cycle(1)));
      await failsWith('InvalidVmState', hypervisor.openFailback(vm, cycle(0, EPOCH + 1)));
      const first = (await hypervisor.openFailback(vm, cycle(0)))!;
      await first.disk(disk).write(content(4 * KiB, 2), 0);
      const second = (await hypervisor.openFailback(vm, cycle(0)))!;
      await failsWith('HypervisorUnreachable', first.disk(disk).write(content(4 * KiB, 3), 0));
      expect((await beginningOf(second.disk(disk))).subarray(0, 4 * KiB).equals(content(4 * KiB, 2))).toBe(true);
      await second.close();
    });

    test('what proves that the original is unchanged is kept, and so are layers that are begun again', async () => {
      const under = await make();
      const { hypervisor, vm } = under;
      await hypervisor.beginReplication(vm, 1);
      await under.write(content(64 * KiB, 1), 0);
      while ((await hypervisor.mergeSnapshot(vm)) > 0);
      await hypervisor.shutDownVm(vm);
      const { lastWrites } = (await hypervisor.describeVm(vm)).tracking!;
      const original = {
        epoch: 1,
        lastWrites: Object.entries(lastWrites).map(([disk, lastWrite]) => ({ name: disk, lastWrite })),
      };
      expect(await hypervisor.beginFailback(vm, EPOCH)).toEqual({ epoch: EPOCH, original });
      await under.restart?.();
      expect(await hypervisor.beginFailback(vm, EPOCH)).toEqual({ epoch: EPOCH, original });
      await failsWith('StaleEpoch', hypervisor.beginFailback(vm, EPOCH - 1));
      // Nothing is known any more of layers that were begun again.
      expect(await hypervisor.beginFailback(vm, EPOCH + 1)).toEqual({ epoch: EPOCH + 1 });
    });

    test('a VM that runs is not brought back', async () => {
      const { hypervisor, vm } = await make();
      await failsWith('InvalidVmState', hypervisor.beginFailback(vm, EPOCH));
    });
  });
}
