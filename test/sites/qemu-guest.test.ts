/** Guests that really boot, from disks that our NBD server serves. */
import { readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test, type TestContext } from 'vitest';
import { RawDisk } from '../../disks/raw.js';
import { NbdServer } from '../../sites/nbd/nbd-server.js';
import { guestNetwork } from '../../sites/qemu/guest-network.js';
import { QemuGuest } from '../../sites/qemu/qemu-guest.js';
import { bootedTransactions } from '../../client/demo/guest/console.js';
import { requireGuestImage } from '../support/guest-image.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const QEMU = 'qemu-system-x86_64';
const MiB = 1024 * 1024;
const SOON = { timeout: 120_000, interval: 100 };
const DISKS = ['os', 'data'];

/** Two empty ext4 disks on an NBD server, and what boots from them. */
async function machineOn(bus: 'IDE' | 'SCSI', context: TestContext) {
  requireReader(QEMU, context);
  const directBoot = await requireGuestImage(context);
  const folder = await temporaryFolder();
  const server = await NbdServer.listen({ socketPath: path.join(folder, 'nbd.sock') });
  onTestFinished(() => server.close());
  for (const name of DISKS) {
    const file = path.join(folder, `${name}.img`);
    await writeFile(file, '');
    await truncate(file, 64 * MiB);
    await runReader('mke2fs', '-q', '-t', 'ext4', '-L', name, file);
    const disk = await RawDisk.open(file);
    onTestFinished(() => disk.close());
    server.addExport(name, {
      size: disk.size,
      read: (target, offset) => disk.read(target, offset),
      write: (data, offset) => disk.write(data, offset),
      writeZeroes: (range) => disk.writeZeroes(range),
      flush: () => disk.flush(),
    });
  }
  const machine = {
    name: 'web-01',
    hardware: {
      processors: 1,
      memoryBytes: 256 * MiB,
      firmware: 'BIOS' as const,
      secureBoot: false,
      disks: DISKS.map((name) => ({ name, bus })),
      networkAdapters: [{ name: 'lan', macAddress: '00:15:5D:01:02:03', addresses: [] }],
    },
    disks: new Map(DISKS.map((name) => [name, server.uri(name)])),
    directBoot,
  };
  const options = { qemu: QEMU, folder: path.join(folder, 'vm'), socketFolder: folder };
  const console = () => readFile(path.join(options.folder, 'console.log'), 'utf8');
  const start = async () => {
    const guest = await QemuGuest.start(machine, options);
    onTestFinished(() => guest.turnOff());
    return guest;
  };
  const boots = async () => (await console()).split('guest: ready').length - 1;
  return { folder, machine, options, console, start, boots };
}

test.for(['IDE', 'SCSI'] as const)(
  'a guest boots from its disks on %s and keeps the data that it has written',
  async (bus, context) => {
    const { folder, console, start, boots } = await machineOn(bus, context);
    const guest = await start();
    await expect.poll(boots, SOON).toBe(1);
    const screen = path.join(folder, 'screen.png');
    await guest.screen(screen);
    expect((await readFile(screen)).subarray(1, 4).toString()).toBe('PNG');
    expect(await guest.shutDown(60_000)).toBe(true);
    expect(guest.isRunning).toBe(false);
    expect(await console()).toContain('guest: shut down');

    // Pulling the plug leaves a file system that is mended as it is mounted.
    const again = await start();
    await expect.poll(boots, SOON).toBe(2);
    await again.turnOff();
    await start();
    await expect.poll(boots, SOON).toBe(3);
    const [none, first, second] = bootedTransactions(await console());
    expect(none).toEqual({ os: 0, data: 0 });
    for (const { os, data } of [first!, second!]) {
      // Each is written to the one disk and then to the other.
      expect(os - data).toBeGreaterThanOrEqual(0);
      expect(os - data).toBeLessThanOrEqual(1);
    }
    expect(second!.os).toBeGreaterThanOrEqual(first!.os);
  },
);

test('a QEMU that a dead hypervisor left is ended before the VM boots again', async (context) => {
  const { machine, options, start, boots } = await machineOn('SCSI', context);
  const left = await QemuGuest.start(machine, options);
  await start();
  await left.ended();
  await expect.poll(boots, SOON).toBeGreaterThanOrEqual(1);
});

test('a QEMU that ends immediately says why', async (context) => {
  const { machine, options } = await machineOn('SCSI', context);
  const bad = { ...machine, directBoot: { kernel: '/nowhere/vmlinuz' } };
  await expect(QemuGuest.start(bad, options)).rejects.toThrow(/QEMU ended immediately: .*\/nowhere\/vmlinuz/);
  await expect(QemuGuest.start(machine, { ...options, qemu: 'no-such-qemu' })).rejects.toThrow(/no-such-qemu/);
});

test('guests of one network reach each other, and no other network', async (context) => {
  const { folder, machine, options } = await machineOn('SCSI', context);
  const scope = folder;
  const start = async (name: string, network: string, commandLine: string, disks: 'with' | 'without') => {
    const guest = await QemuGuest.start(
      {
        ...machine,
        name,
        hardware: { ...machine.hardware, disks: disks === 'with' ? machine.hardware.disks : [] },
        directBoot: { ...machine.directBoot, commandLine: `${machine.directBoot.commandLine} ${commandLine}` },
        networks: new Map([['lan', guestNetwork(scope, network)]]),
      },
      { ...options, folder: path.join(folder, name) },
    );
    onTestFinished(() => guest.turnOff());
    return () => readFile(path.join(folder, name, 'console.log'), 'utf8');
  };
  const served = await start('server', 'lan', 'address=10.9.0.1/24', 'with');
  await expect.poll(served, SOON).toContain('guest: ready');
  const near = await start('near', 'lan', 'address=10.9.0.2/24 fetch=10.9.0.1 serve=no', 'without');
  await expect.poll(near, SOON).toMatch(/guest: fetched \d+/);
  const far = await start('far', 'test', 'address=10.9.0.3/24 fetch=10.9.0.1 serve=no', 'without');
  await expect.poll(far, SOON).toContain('guest: reached nobody');
});
