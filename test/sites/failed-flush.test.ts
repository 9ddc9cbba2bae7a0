/** The system says once that it could not store what was written to a disk: from then on the VM is marked, whoever asked. */
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { VirtualDisk } from '../../disks/disk.js';
import { RawDisk } from '../../disks/raw.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import type { DiskOfVm } from '../../sites/hypervisor/vm-chain.js';
import { VmStateFile } from '../../sites/hypervisor/vm-state-file.js';
import { EmbeddedVm } from '../../sites/hypervisor/embedded-vm.js';
import { NbdServer } from '../../sites/nbd/nbd-server.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;
const SIZE = 4 * MiB;

/** A VM whose disk's file can't be synced any more once it is told so; several lives, one after the other. */
class FailingVm {
  private failing = false;
  private guests: NbdGuest[] = [];

  private constructor(
    private readonly folder: string,
    private readonly server: NbdServer,
    public vm: EmbeddedVm,
  ) {}

  static async start(): Promise<FailingVm> {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'os.img'), '');
    await truncate(join(folder, 'os.img'), SIZE);
    const server = await NbdServer.listen({ socketPath: join(folder, 'nbd.sock') });
    const failing = new FailingVm(folder, server, undefined as never);
    failing.vm = await failing.load();
    onTestFinished(async () => {
      await failing.vm.turnOff();
      await server.close();
    });
    await failing.vm.beginReplication(1);
    return failing;
  }

  private async load(): Promise<EmbeddedVm> {
    const disk: DiskOfVm = {
      name: 'os',
      path: join(this.folder, 'os.img'),
      overlay: join(this.folder, 'os.img.avhd'),
      format: 'raw',
      openBase: async () => this.breakable(await RawDisk.open(join(this.folder, 'os.img'))),
    };
    const environment = { server: this.server, bootId: '11111111-2222-3333-4444-555555555555', freeSpaceFloor: 0 };
    const state = await VmStateFile.open('vm', join(this.folder, 'vm.json'));
    return EmbeddedVm.load('vm', [disk], state, { ...environment, warn: () => undefined });
  }

  private breakable(disk: RawDisk): VirtualDisk {
    const flush = disk.flush.bind(disk);
    disk.flush = () =>
      this.failing ? Promise.reject(Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' })) : flush();
    return disk;
  }

  async merge(): Promise<void> {
    while ((await this.vm.mergeSnapshot()) > 0);
  }

  async write(options: { fua?: boolean } = {}): Promise<NbdGuest> {
    const guest = await NbdGuest.connect(this.vm.describe().disks[0]!.nbdUri!);
    this.guests.push(guest);
    await guest.write(Buffer.alloc(4096, 7), 8192, options);
    return guest;
  }

  break(): void {
    this.failing = true;
  }

  /** The hypervisor ends and starts again; the disk's file is as good as new, and nobody is told again what it has lost. */
  async restart(): Promise<void> {
    await this.vm.close();
    this.failing = false;
    this.vm = await this.load();
  }

  get cause(): string | undefined {
    return this.vm.describe().tracking?.resyncCause;
  }
}

test.for([
  ['a guest flushes', async (vm: FailingVm, guest: NbdGuest) => void (await guest.flush().catch(() => vm))],
  ['a guest writes through', async (vm: FailingVm) => void (await vm.write({ fua: true }).catch(() => vm))],
  ['the VM is turned off', async (vm: FailingVm) => vm.vm.turnOff()],
  ['the VM is shut down', async (vm: FailingVm) => void (await vm.vm.shutDown().catch(() => vm))],
  ['the hypervisor is stopped', async () => undefined],
] as const)('a flush that fails when %s marks the VM', async ([, flush]) => {
  const vm = await FailingVm.start();
  await vm.merge();
  const guest = await vm.write();
  expect(vm.cause).toBeUndefined();
  vm.break();
  await flush(vm, guest);
  await vm.restart();
  expect(vm.cause).toBe('disk os could not be flushed: EIO: i/o error, fdatasync');
});

test('a flush that fails while a snapshot is merged marks the VM', async () => {
  const vm = await FailingVm.start();
  await vm.write();
  vm.break();
  await expect(vm.merge()).rejects.toThrow('EIO');
  expect(vm.cause).toBe('disk os could not be flushed: EIO: i/o error, fdatasync');
  await vm.restart();
  expect(vm.cause).toBe('disk os could not be flushed: EIO: i/o error, fdatasync');
});
