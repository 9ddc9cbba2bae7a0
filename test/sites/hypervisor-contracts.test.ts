/** What ports promise of hypervisors, of the embedded ones: over their control interface, as everyone uses them. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { serveHypervisor } from '../../sites/hypervisor/control-server.js';
import { EmbeddedHypervisor } from '../../sites/hypervisor/hypervisor.js';
import { hypervisorConfigSchema } from '../../sites/hypervisor/hypervisor-config.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { changeSourceContract, type SourceUnderTest } from '../contracts/change-source.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const VM = 'db-01';
const MiB = 1024 ** 2;
const DISKS = { os: 8 * MiB, data: 4 * MiB + 512 };
const quiet = { warn: () => undefined };

async function startHypervisor() {
  const folder = await temporaryFolder();
  for (const [name, size] of Object.entries(DISKS)) {
    const file = await open(join(folder, name), 'w');
    await file.truncate(size);
    await file.close();
  }
  const config = hypervisorConfigSchema.parse({
    stateFolder: join(folder, 'state'),
    controlSocket: join(folder, 'control.sock'),
    nbdSocketFolder: join(folder, 'nbd'),
    freeSpaceFloorBytes: 0,
    vms: [{ name: VM, disks: Object.keys(DISKS).map((name) => ({ name, path: join(folder, name) })) }],
  });
  const hypervisor = await EmbeddedHypervisor.open(config, quiet);
  const control = await serveHypervisor(config.controlSocket, hypervisor, quiet);
  onTestFinished(async () => {
    await control.close();
    await hypervisor.close();
  });
  return new HypervisorClient(config.controlSocket);
}

changeSourceContract('the embedded hypervisor', async (): Promise<SourceUnderTest> => {
  const source = await startHypervisor();
  const onDisk = async <T>(disk: string, work: (guest: NbdGuest) => Promise<T>): Promise<T> => {
    const { disks } = await source.describeVm(VM);
    const uri = disks.find(({ name }) => name === disk)?.nbdUri;
    if (uri === undefined) throw new Error(`${disk} is not served`);
    const guest = await NbdGuest.connect(uri);
    try {
      return await work(guest);
    } finally {
      await guest.close();
    }
  };
  return {
    ...{ source, vm: VM, disks: DISKS },
    write: async (disk, data, offset) => onDisk(disk, (guest) => guest.write(data, offset)),
    contentOf: async (disk) =>
      onDisk(disk, async (guest) => {
        const bytes = Buffer.alloc(DISKS[disk as keyof typeof DISKS]);
        for (let at = 0; at < bytes.length; at += MiB) await guest.read(bytes.subarray(at, at + MiB), at);
        return bytes;
      }),
    shutDown: async () => void (await source.shutDownVm(VM)),
  };
});
