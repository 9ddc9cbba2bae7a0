/** The contracts hold for adapters that share nothing with the embedded ones, so that a real host's can fulfil them. */
import { changeSourceContract } from './change-source.js';
import { HARDWARE, hypervisorContract } from './hypervisor.js';
import { MemoryCompute } from './memory-compute.js';
import { MemoryHypervisor } from './memory-hypervisor.js';
import { computeSpec, recoveryComputeContract } from './recovery-compute.js';
import { testVmsContract } from './test-vms.js';
import { content } from '../support/content.js';

const VM = 'db-01';
const MiB = 1024 ** 2;
const DISKS = { os: 2 * MiB, data: MiB + 512 };

function memoryHypervisor(): MemoryHypervisor {
  const hypervisor = new MemoryHypervisor();
  hypervisor.add(VM, DISKS, HARDWARE);
  return hypervisor;
}

changeSourceContract('a hypervisor in memory', async () => {
  const source = memoryHypervisor();
  return {
    ...{ source, vm: VM, disks: DISKS },
    write: async (disk, data, offset) => source.write(VM, disk, data, offset),
    contentOf: async (disk) => source.contentOf(VM, disk),
    shutDown: async () => void (await source.shutDownVm(VM)),
    loseCuts: async () => source.loseCuts(VM),
  };
});

changeSourceContract('compute in memory', async () => {
  const source = new MemoryCompute(new Map(Object.entries(DISKS).map(([name, size]) => [name, Buffer.alloc(size)])));
  const disks = Object.entries(DISKS).map(([name, size]) => [name, { size, snapshot: 'snapshot' }] as const);
  await source.createVm(computeSpec(VM, Object.fromEntries(disks), 1));
  await source.startVm(VM, 1);
  return {
    ...{ source, vm: VM, disks: DISKS },
    write: async (disk, data, offset) => source.write(VM, disk, data, offset),
    contentOf: async (disk) => source.contentOf(VM, disk),
    shutDown: () => source.turnOffVm(VM),
    loseCuts: async () => source.loseCuts(VM),
  };
});

hypervisorContract('a hypervisor in memory', async () => {
  const hypervisor = memoryHypervisor();
  return {
    ...{ hypervisor, vm: VM, disks: DISKS, hardware: HARDWARE },
    write: async (data, offset) => hypervisor.write(VM, 'os', data, offset),
    contentOf: async (disk) => hypervisor.contentOf(VM, disk),
  };
});

recoveryComputeContract('compute in memory', async () => {
  const size = 2 * MiB + 512;
  const point = new Map([['os', content(size, 4)]]);
  const compute = new MemoryCompute(point);
  return {
    ...{ compute, point, spec: computeSpec(VM, { os: { size, snapshot: 'snapshot' } }) },
    raiseFence: async (epoch) => void (compute.fencedEpoch = epoch),
    contents: async () => new Map([['os', compute.contentOf(VM, 'os')]]),
    write: async (data, offset) => compute.write(VM, 'os', data, offset),
  };
});

testVmsContract('compute in memory', async () => {
  const size = 2 * MiB + 512;
  const point = new Map([['os', content(size, 4)]]);
  const compute = new MemoryCompute(point);
  return {
    ...{ compute, point, spec: computeSpec(VM, { os: { size, snapshot: 'snapshot' } }) },
    raiseFence: async (epoch) => void (compute.fencedEpoch = epoch),
    ofReplica: async () => compute.contentOf(VM, 'os'),
    contentOf: async (name) => Buffer.from(compute.testVm(name).disks.get('os')!.content),
    write: async (name, data, offset) => {
      const { state, disks } = compute.testVm(name);
      if (state === 'Off') throw new Error(`${name} is off`);
      data.copy(disks.get('os')!.content, offset);
    },
  };
});
