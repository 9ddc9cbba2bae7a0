/** Guests that really boot, from disks that our NBD server serves. */
import { truncate, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Hardware } from '../../domain/hardware.js';
import { RawDisk } from '../../disks/raw.js';
import { NbdServer } from '../../sites/nbd/nbd-server.js';
import { QemuGuest } from '../../sites/qemu/qemu-guest.js';
import { guestImage } from '../support/guest/guest-image.js';
import { runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const QEMU = 'qemu-system-x86_64';
const MiB = 1024 * 1024;
const BOOTED = { timeout: 120_000, interval: 100 };
const DISKS = ['os', 'data'];

const hardware = (bus: 'IDE' | 'SCSI'): Hardware => ({
  processors: 1,
  memoryBytes: 256 * MiB,
  firmware: 'BIOS',
  secureBoot: false,
  disks: DISKS.map((name) => ({ name, bus })),
  networkAdapters: [],
});

test.each(['IDE', 'SCSI'] as const)(
  'a guest boots from its disks on %s, and keeps what it has written',
  async (bus) => {
    const folder = await temporaryFolder();
    const directBoot = (await guestImage())!;
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
      hardware: hardware(bus),
      disks: new Map(DISKS.map((name) => [name, server.uri(name)])),
      directBoot,
    };
    const options = { qemu: QEMU, folder: path.join(folder, 'vm'), socketFolder: folder };
    const console = () => readFile(path.join(options.folder, 'console.log'), 'utf8');
    const from = Date.now();
    const guest = await QemuGuest.start(machine, options);
    onTestFinished(() => guest.turnOff());
    await expect.poll(console, BOOTED).toContain('guest: ready');
    globalThis.console.log(`booted in ${Date.now() - from} ms`);
    await guest.screen(path.join(folder, 'screen.png'));
    expect((await readFile(path.join(folder, 'screen.png'))).subarray(1, 4).toString()).toBe('PNG');
    await new Promise((resolve) => setTimeout(resolve, 2000));
    expect(await guest.shutDown(60_000)).toBe(true);
    expect(await console()).toContain('guest: shut down');

    const again = await QemuGuest.start(machine, options);
    onTestFinished(() => again.turnOff());
    await expect.poll(async () => (await console()).split('guest: ready').length, BOOTED).toBe(3);
    globalThis.console.log(await console());
  },
);
