/** The contracts hold for adapters that share nothing with the embedded ones, so that a real host's can fulfil them. */
import { changeSourceContract } from './change-source.js';
import { MemoryHypervisor } from './memory-hypervisor.js';

const VM = 'db-01';
const MiB = 1024 ** 2;

changeSourceContract('a hypervisor in memory', async () => {
  const source = new MemoryHypervisor();
  const disks = { os: 2 * MiB, data: MiB + 512 };
  source.add(VM, disks);
  return {
    ...{ source, vm: VM, disks },
    write: async (disk, data, offset) => source.write(VM, disk, data, offset),
    contentOf: async (disk) => source.contentOf(VM, disk),
    shutDown: async () => void (await source.shutDownVm(VM)),
    loseCuts: async () => source.loseCuts(VM),
  };
});
