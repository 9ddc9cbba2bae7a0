/** What happens to the disks of a VM behind its hypervisor's back, or by a new configuration, is noticed. */
import { execFile } from 'node:child_process';
import { link, open, readdir, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const run = promisify(execFile);
const MiB = 1024 * 1024;
const SIZE = 8 * MiB;
const VM = 'vm';

/** A VM whose configuration changes from one life of its hypervisor to the next. */
class ChangingVm {
  private constructor(
    private readonly folder: string,
    private process: HypervisorProcess,
    readonly hypervisor: HypervisorClient,
  ) {}

  /** @param disks names, a dash before those that are excluded. */
  static async start(...disks: string[]): Promise<ChangingVm> {
    const folder = await temporaryFolder();
    const process = await ChangingVm.configure(folder, disks);
    const vm = new ChangingVm(folder, process, new HypervisorClient(process.controlSocket));
    onTestFinished(async () => await vm.process.kill());
    await process.start();
    return vm;
  }

  private static async configure(folder: string, disks: string[]): Promise<HypervisorProcess> {
    const wanted = disks.map((disk) => ({ name: disk.replace('-', ''), excluded: disk.startsWith('-') }));
    for (const { name } of wanted) {
      const path = join(folder, `${name}.img`);
      if (await stat(path).catch(() => undefined)) continue;
      await writeFile(path, '');
      await truncate(path, SIZE);
    }
    const vms = [{ name: VM, disks: wanted.map((disk) => ({ ...disk, path: join(folder, `${disk.name}.img`) })) }];
    return HypervisorProcess.configure(folder, 'hv', { vms });
  }

  path(disk: string): string {
    return join(this.folder, `${disk}.img`);
  }

  /** Ends the hypervisor, in order unless told otherwise, does something, and starts it with these disks, or as before. */
  async restart(
    options: { signal?: 'SIGKILL' | 'SIGTERM'; disks?: string[] } = {},
    meanwhile = () => Promise.resolve(),
  ): Promise<void> {
    await this.process.kill(options.signal ?? 'SIGTERM');
    await meanwhile();
    if (options.disks) this.process = await ChangingVm.configure(this.folder, options.disks);
    await this.process.start();
  }

  async begin(epoch: number): Promise<void> {
    await this.hypervisor.beginReplication(VM, epoch);
    while ((await this.hypervisor.mergeSnapshot(VM)) > 0);
    expect(await this.cause()).toBeUndefined();
  }

  async cause(): Promise<string | undefined> {
    return (await this.hypervisor.describeVm(VM)).tracking?.resyncCause;
  }

  async write(disk: string, byte: number): Promise<void> {
    const { disks } = await this.hypervisor.describeVm(VM);
    const guest = await NbdGuest.connect(disks.find(({ name }) => name === disk)!.nbdUri!);
    await guest.write(Buffer.alloc(4096, byte), byte * 4096);
    await guest.flush();
    await guest.close();
  }

  /** Changes a byte of the file as no guest does. */
  async edit(disk: string): Promise<void> {
    const file = await open(this.path(disk), 'r+');
    await file.write(Buffer.from([7]), 0, 1, SIZE - 5);
    await file.close();
  }

  async files(): Promise<string[]> {
    return (await readdir(this.folder)).filter((name) => /\.(hrl|avhd)/.test(name));
  }
}

test('a disk that was added, removed, excluded or resized is named, and the next epoch has the new set of disks', async () => {
  const vm = await ChangingVm.start('os', 'data');
  await vm.begin(1);
  await vm.write('os', 1);
  await vm.hypervisor.cut(VM, { epoch: 1, sequence: 1 });
  await vm.restart({ disks: ['os', 'data', 'more'] });
  expect(await vm.cause()).toBe('disk more was added');
  // The guest goes on, and the mark outlives a kill.
  await vm.write('more', 2);
  await vm.restart({ signal: 'SIGKILL' });
  expect(await vm.cause()).toBe('disk more was added');
  await expect(vm.hypervisor.cut(VM, { epoch: 1, sequence: 2 })).rejects.toMatchObject({ code: 'ResyncRequired' });
  await vm.begin(2);
  const cut = await vm.hypervisor.cut(VM, { epoch: 2, sequence: 1 });
  expect(cut.disks.map(({ name }) => name)).toEqual(['os', 'data', 'more']);

  // Nothing has been written or cut yet: the logs of the others look as if the epoch had never been begun.
  await vm.begin(3);
  await vm.restart({ signal: 'SIGKILL', disks: ['os', 'data', 'more', 'last'] });
  expect(await vm.cause()).toBe('disk last was added');
  await vm.begin(4);
  await vm.restart({ disks: ['os', '-more', 'last'] });
  expect(await vm.cause()).toBe('disk data was removed; disk more was excluded');
  await vm.begin(5);
  await vm.restart({}, () => truncate(vm.path('os'), 2 * SIZE));
  expect(await vm.cause()).toBe(`disk os grew from ${SIZE} to ${2 * SIZE} bytes`);
  await vm.begin(6);
  await vm.restart({ signal: 'SIGKILL' }, () => truncate(vm.path('os'), SIZE));
  expect(await vm.cause()).toBe(`disk os shrank from ${2 * SIZE} to ${SIZE} bytes`);

  // The VM is off, the hypervisor is not.
  await vm.begin(7);
  await vm.hypervisor.shutDownVm(VM);
  await truncate(vm.path('last'), 3 * SIZE);
  await vm.hypervisor.startVm(VM, 7);
  expect(await vm.cause()).toBe(`disk last grew from ${SIZE} to ${3 * SIZE} bytes`);
  await vm.write('last', 3);
  await vm.begin(8);
  const { disks } = await vm.hypervisor.cut(VM, { epoch: 8, sequence: 1 });
  expect(disks.map(({ name, size }) => [name, size])).toEqual([
    ['os', SIZE],
    ['last', 3 * SIZE],
  ]);

  // Off, grown, and protected as it is then, without having been started.
  await vm.hypervisor.shutDownVm(VM);
  await truncate(vm.path('os'), 4 * SIZE);
  const sizes = async () => (await vm.hypervisor.describeVm(VM)).disks.map(({ size }) => size);
  expect(await sizes()).toEqual([4 * SIZE, SIZE, 3 * SIZE]);
  await vm.hypervisor.beginReplication(VM, 81);
  expect(await sizes()).toEqual([4 * SIZE, SIZE, 3 * SIZE]);
  while ((await vm.hypervisor.mergeSnapshot(VM)) > 0);
  const { disks: grown } = await vm.hypervisor.cut(VM, { epoch: 81, sequence: 1 });
  expect(grown.map(({ size }) => size)).toEqual([4 * SIZE, 3 * SIZE]);
  await vm.hypervisor.startVm(VM, 81);

  // In the middle of a copy.
  await vm.hypervisor.beginReplication(VM, 90);
  await vm.restart({ disks: ['os'] });
  await expect(vm.hypervisor.openSnapshotDisk(VM, 90, 'last')).rejects.toMatchObject({ code: 'ResyncRequired' });
  await vm.begin(100);
});

test('a disk that was edited or replaced while it was closed is noticed; a kill is not mistaken for that', async () => {
  const vm = await ChangingVm.start('os', 'data');
  let epoch = 1;
  const expectMarked = async (disk: string) => {
    expect(await vm.cause()).toBe(`disk ${disk} was changed while the VM was off`);
    await vm.begin((epoch += 1));
  };
  await vm.begin(epoch);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await vm.write('os', 1);
    await vm.restart({ signal });
    expect(await vm.cause()).toBeUndefined();
  }
  await vm.restart({}, () => vm.edit('data'));
  await expectMarked('data');
  await run('cp', ['-p', vm.path('os'), `${vm.path('os')}.older`]);
  await vm.write('os', 2);
  await vm.restart({}, async () => void (await run('cp', ['-p', `${vm.path('os')}.older`, vm.path('os')])));
  await expectMarked('os');

  // Off, and looked at by a cut, which opens no disk; by a start; and after a kill.
  await vm.hypervisor.shutDownVm(VM);
  const first = await vm.hypervisor.cut(VM, { epoch, sequence: 1 });
  expect(first.final).toBe(true);
  await vm.edit('os');
  await expect(vm.hypervisor.cut(VM, { epoch, sequence: 2 })).rejects.toMatchObject({ code: 'ResyncRequired' });
  await expectMarked('os');
  await vm.hypervisor.cut(VM, { epoch, sequence: 1 });
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    await vm.restart({ signal });
    expect(await vm.cause()).toBeUndefined();
  }
  await vm.restart({ signal: 'SIGKILL' }, () => vm.edit('data'));
  await expectMarked('data');
  await vm.edit('os');
  await vm.hypervisor.startVm(VM, epoch);
  await expectMarked('os');
  await vm.write('os', 3);
  await vm.hypervisor.shutDownVm(VM);
  await vm.hypervisor.startVm(VM, epoch);
  await vm.write('data', 4);
  await vm.restart({ signal: 'SIGKILL' });
  expect(await vm.cause()).toBeUndefined();
});

test('another file in place of the disk that the VM has open marks the VM, and is not read', async () => {
  const vm = await ChangingVm.start('os', 'data');
  await vm.begin(1);
  await vm.write('os', 1);
  await writeFile(`${vm.path('os')}.older`, Buffer.alloc(SIZE, 9));
  const [kept, older] = [`${vm.path('os')}.kept`, `${vm.path('os')}.older`];
  await link(vm.path('os'), kept);
  await rename(older, vm.path('os'));
  // The guest goes on, on the file that it has.
  await vm.write('os', 2);
  await expect(vm.hypervisor.cut(VM, { epoch: 1, sequence: 1 })).rejects.toMatchObject({ code: 'ResyncRequired' });
  expect(await vm.cause()).toBe(`disk os was replaced: ${vm.path('os')} is not the file that the VM has open`);
  await expect(vm.hypervisor.beginReplication(VM, 2)).rejects.toMatchObject({ code: 'BrokenChain' });
  expect((await vm.hypervisor.describeVm(VM)).snapshot).toBeUndefined();
  await rename(kept, vm.path('os'));
  await vm.hypervisor.beginReplication(VM, 2);
  await (await vm.hypervisor.openSnapshotDisk(VM, 2, 'os')).close();

  // While it is being copied.
  await link(vm.path('os'), kept);
  await writeFile(older, Buffer.alloc(SIZE, 9));
  await rename(older, vm.path('os'));
  await expect(vm.hypervisor.openSnapshotDisk(VM, 2, 'os')).rejects.toMatchObject({ code: 'BrokenChain' });
  await rename(kept, vm.path('os'));
  while ((await vm.hypervisor.mergeSnapshot(VM)) > 0);
  expect(await vm.cause()).toBeUndefined();

  // Put down, in each of three ways, and gone.
  for (const [epoch, end] of [
    [3, () => vm.hypervisor.shutDownVm(VM)],
    [4, () => vm.restart({ signal: 'SIGTERM' })],
    [5, () => vm.restart({ signal: 'SIGKILL' })],
  ] as const) {
    await vm.begin(epoch);
    await vm.write('os', epoch);
    await run('cp', ['-p', vm.path('os'), older]);
    await rename(older, vm.path('os'));
    await end();
    expect(await vm.cause(), String(epoch)).toContain('disk os was replaced');
    if (epoch === 3) await vm.hypervisor.startVm(VM, epoch);
  }
  await vm.begin(6);
  await rename(vm.path('data'), `${vm.path('data')}.elsewhere`);
  await expect(vm.hypervisor.cut(VM, { epoch: 6, sequence: 1 })).rejects.toMatchObject({ code: 'ResyncRequired' });
  expect(await vm.cause()).toBe(`disk data was replaced: ${vm.path('data')} no longer exists`);
  await expect(vm.hypervisor.beginReplication(VM, 7)).rejects.toMatchObject({ code: 'DiskMissing' });
});

test('an excluded disk is served to the guest, but is neither tracked nor part of a snapshot', async () => {
  const vm = await ChangingVm.start('os', '-scratch');
  await vm.hypervisor.beginReplication(VM, 1);
  await vm.write('os', 1);
  await vm.write('scratch', 2);
  expect((await vm.files()).toSorted()).toEqual(['os.img.0001-00000001.hrl', 'os.img.avhd', 'os.img.avhd.bitmap']);
  const { disks, tracking } = await vm.hypervisor.describeVm(VM);
  expect(disks.map(({ name, excluded }) => [name, excluded])).toEqual([
    ['os', undefined],
    ['scratch', true],
  ]);
  expect(disks[1]!.logBytes).toBe(0);
  expect(tracking?.lastWrites).toEqual({ os: 1 });
  while ((await vm.hypervisor.mergeSnapshot(VM)) > 0);
  await vm.restart({}, () => vm.edit('scratch'));
  await vm.write('scratch', 3);
  const file = await open(vm.path('scratch'), 'r');
  const found = Buffer.alloc(4096);
  await file.read(found, 0, 4096, 3 * 4096);
  await file.close();
  expect(found.equals(Buffer.alloc(4096, 3))).toBe(true);
  const cut = await vm.hypervisor.cut(VM, { epoch: 1, sequence: 1 });
  expect(cut.disks.map(({ name }) => name)).toEqual(['os']);
  await vm.restart({ disks: ['os', 'scratch'] });
  expect(await vm.cause()).toBe('disk scratch was added');
});
