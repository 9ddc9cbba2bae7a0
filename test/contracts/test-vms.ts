/** What compute at the recovery site promises of test VMs: made from a recovery point, and never taken for replica VMs. */
import { describe, expect, test } from 'vitest';
import type { RecoveryCompute, ReplicaVmSpec } from '../../ports/recovery-compute.js';
import type { TestVmSpec } from '../../ports/test-vms.js';
import { failsWith } from '../support/fails-with.js';

export interface TestVmsUnderTest {
  readonly compute: RecoveryCompute;
  /** Of the replica VM, with one disk, `os`; nothing is made of it yet. See `computeSpec`. */
  readonly spec: ReplicaVmSpec;
  /** What the recovery point holds. */
  readonly point: ReadonlyMap<string, Buffer>;
  raiseFence(epoch: number): Promise<void>;
  /** What the replica VM has on its disk, while it runs. */
  ofReplica(): Promise<Buffer>;
  /** What a test VM has on its disk, while it runs. */
  contentOf(name: string): Promise<Buffer>;
  /** As the guest of a test VM does. */
  write(name: string, data: Buffer, offset: number): Promise<void>;
  /** See `ComputeUnderTest`. */
  restart?(): Promise<void>;
}

export function testVmsContract(name: string, make: () => Promise<TestVmsUnderTest>): void {
  const created = async () => {
    const under = await make();
    const { vm } = under.spec.description;
    const spec: TestVmSpec = { ...under.spec, name: `${vm}-test` };
    await under.compute.createTestVm(spec);
    return { ...under, vm, replica: under.spec, spec };
  };

  describe(`${name}: test VMs`, () => {
    test('a test VM is created once, powered off, and is no replica VM', async () => {
      const { compute, spec, vm } = await created();
      await compute.createTestVm(spec);
      expect(await compute.listTestVms()).toMatchObject([{ name: spec.name, testOf: vm, state: 'Off' }]);
      expect(await compute.listVms()).toEqual([]);
      await failsWith('VmNotFound', compute.describeVm(spec.name));
      await failsWith('VmNotFound', compute.startVm(spec.name, spec.epoch));
      await failsWith('VmNotFound', compute.turnOffVm(spec.name));
      await failsWith('VmNotFound', compute.beginReplication(spec.name, spec.epoch));
      await compute.deleteVm(spec.name);
      expect(await compute.listTestVms()).toHaveLength(1);
      await failsWith('InvalidVmState', compute.createTestVm({ ...spec, epoch: spec.epoch + 1 }));
    });

    test('a test VM and a replica VM run side by side from one point, and neither sees what the other writes', async () => {
      const under = await created();
      const { compute, spec, replica, vm, point, ofReplica, contentOf, write } = under;
      await compute.createVm(replica);
      await compute.startVm(vm, replica.epoch);
      expect(await compute.startTestVm(spec.name)).toMatchObject({ name: spec.name, testOf: vm, state: 'Running' });
      expect(await compute.startTestVm(spec.name)).toMatchObject({ state: 'Running' });
      expect((await contentOf(spec.name)).equals(point.get('os')!)).toBe(true);
      await write(spec.name, Buffer.alloc(4096, 7), 8192);
      await under.restart?.();
      const written = Buffer.from(point.get('os')!);
      written.fill(7, 8192, 8192 + 4096);
      expect((await contentOf(spec.name)).equals(written)).toBe(true);
      expect((await ofReplica()).equals(point.get('os')!)).toBe(true);
      expect(await compute.listVms()).toMatchObject([{ name: vm, state: 'Running' }]);

      await compute.turnOffTestVm(spec.name);
      await compute.turnOffTestVm(spec.name);
      await expect(write(spec.name, Buffer.alloc(512, 8), 0)).rejects.toThrow();
      await compute.startTestVm(spec.name);
      await compute.deleteTestVm(spec.name);
      await compute.deleteTestVm(spec.name);
      expect(await compute.listTestVms()).toEqual([]);
      await failsWith('VmNotFound', compute.startTestVm(spec.name));
      await failsWith('VmNotFound', compute.turnOffTestVm(spec.name));
      expect((await ofReplica()).equals(point.get('os')!)).toBe(true);

      await compute.createTestVm(spec);
      await compute.startTestVm(spec.name);
      expect((await contentOf(spec.name)).equals(point.get('os')!)).toBe(true);
    });

    test('a test VM runs whatever the epoch of its VM', async () => {
      const { compute, spec, raiseFence } = await created();
      await raiseFence(spec.epoch + 5);
      expect(await compute.startTestVm(spec.name)).toMatchObject({ state: 'Running' });
      await compute.deleteTestVm(spec.name);
      await compute.createTestVm(spec);
    });

    test('a test VM without a booted guest has an empty console, no screen, and runs no program', async () => {
      const { compute, spec } = await created();
      await compute.startTestVm(spec.name);
      expect(await compute.readTestConsole(spec.name)).toHaveLength(0);
      expect(await compute.readTestScreen(spec.name)).toBeUndefined();
      expect(await compute.runInTestVm(spec.name, ['true'], 1_000)).toEqual({ problem: expect.any(String) });
      await failsWith('VmNotFound', compute.readTestConsole('nobody'));
      await failsWith('VmNotFound', compute.readTestScreen('nobody'));
      await failsWith('VmNotFound', compute.runInTestVm('nobody', ['true'], 1_000));
    });

    test('a name belongs to one VM only', async () => {
      const { compute, spec, replica } = await created();
      const taken = { ...replica, description: { ...replica.description, vm: spec.name } };
      await failsWith('InvalidVmState', compute.createVm(taken));
      await compute.createVm(replica);
      await failsWith('InvalidVmState', compute.createTestVm({ ...spec, name: replica.description.vm }));
    });
  });
}
