/** Replication does not fill the volume that it shares with its guest: the snapshot goes first, then tracking; the guest goes on. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test, type TestContext } from 'vitest';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { leave, resize, smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 1024 * 1024;
const BLOCK = 64 * 1024;
const SIZE = 24 * MiB;

/** A running VM whose disk takes 24 MiB of a small volume, all of it allocated. */
class CrampedVm {
  readonly content = randomBytes(SIZE);

  private constructor(
    readonly volume: string,
    readonly process: HypervisorProcess,
    readonly hypervisor: HypervisorClient,
    private guest: NbdGuest,
  ) {}

  static async start(mebibytes: number, floor: number, context: Pick<TestContext, 'skip'>): Promise<CrampedVm> {
    const folder = await temporaryFolder();
    const volume = await smallFileSystem(join(folder, 'volume'), mebibytes, context);
    const process = await HypervisorProcess.configure(folder, 'hv', {
      freeSpaceFloorBytes: floor,
      vms: [{ name: 'vm', disks: [{ name: 'os', path: join(volume, 'os.img'), format: 'raw' }] }],
    });
    onTestFinished(() => process.kill());
    const vm = new CrampedVm(volume, process, new HypervisorClient(process.controlSocket), undefined as never);
    await writeFile(join(volume, 'os.img'), vm.content);
    await process.start();
    await vm.connect();
    return vm;
  }

  async connect(): Promise<void> {
    this.guest = await NbdGuest.connect((await this.hypervisor.describeVm('vm')).disks[0]!.nbdUri!);
  }

  /** A small write to each of these blocks, many at a time: under a snapshot each copies up a block. @returns the least space that was free meanwhile. */
  async write(from: number, to: number): Promise<number> {
    let least = Infinity;
    for (let first = from; first < to; first += 16) {
      const blocks = Array.from({ length: Math.min(16, to - first) }, (_, index) => first + index);
      await Promise.all(
        blocks.map(async (block) => {
          const data = randomBytes(4096);
          await this.guest.write(data, block * BLOCK);
          data.copy(this.content, block * BLOCK);
        }),
      );
      const { bavail, bsize } = await statfs(this.volume);
      least = Math.min(least, bavail * bsize);
    }
    return least;
  }

  async cause(): Promise<string | undefined> {
    return (await this.hypervisor.describeVm('vm')).tracking?.resyncCause;
  }

  /** Waits until the hypervisor has merged the snapshot by itself. */
  async merged(): Promise<void> {
    while ((await this.hypervisor.describeVm('vm')).snapshot !== undefined) await sleep(20);
  }

  async expectContent(): Promise<void> {
    while ((await this.hypervisor.mergeSnapshot('vm')) > 0);
    await this.process.kill('SIGTERM');
    expect((await readFile(join(this.volume, 'os.img'))).equals(this.content)).toBe(true);
  }
}

const BLOCKS = SIZE / BLOCK;
const FLOOR = 8 * MiB;

test('at the floor of free space the snapshot is given up, and its reader is told to start again', async (context) => {
  const vm = await CrampedVm.start(40, FLOOR, context);
  await vm.hypervisor.beginReplication('vm', 1);
  const source = await vm.hypervisor.openSnapshotDisk('vm', 1, 'os');
  await source.close();
  // All of it copied up would take 24 MiB; 16 are free.
  expect(await vm.write(0, BLOCKS)).toBeGreaterThan(FLOOR / 2);
  await expect(vm.hypervisor.openSnapshotDisk('vm', 1, 'os')).rejects.toMatchObject({
    code: 'SnapshotGivenUp',
    detail: expect.stringContaining('are free in'),
  });
  await vm.merged();
  // After a restart, too; and tracking goes on, which needs less.
  await vm.process.kill();
  await vm.process.start();
  await vm.connect();
  await expect(vm.hypervisor.openSnapshotDisk('vm', 1, 'os')).rejects.toMatchObject({ code: 'SnapshotGivenUp' });
  expect(await vm.cause()).toBeUndefined();
  await vm.hypervisor.cut('vm', { epoch: 1, sequence: 1 });
  await vm.hypervisor.beginReplication('vm', 2);
  await (await vm.hypervisor.openSnapshotDisk('vm', 2, 'os')).close();
  await vm.expectContent();
});

test('the given-up snapshot of one cut is not mistaken for that of another', async (context) => {
  const vm = await CrampedVm.start(40, FLOOR, context);
  await vm.hypervisor.beginReplication('vm', 1);
  while ((await vm.hypervisor.mergeSnapshot('vm')) > 0);
  await vm.hypervisor.snapshotAndCut('vm', { epoch: 1, sequence: 1 });
  await vm.write(0, BLOCKS);
  for (const ask of [
    () => vm.hypervisor.snapshotAndCut('vm', { epoch: 1, sequence: 1 }),
    () => vm.hypervisor.openSnapshotDisk('vm', 1, 'os'),
  ]) {
    await expect(ask()).rejects.toMatchObject({ code: 'SnapshotGivenUp' });
  }
  await vm.expectContent();
});

test('on a volume that is already short of space nothing is started and nothing is left behind', async (context) => {
  const vm = await CrampedVm.start(31, FLOOR, context);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await expect(vm.hypervisor.beginReplication('vm', 1)).rejects.toMatchObject({ code: 'SourceDiskFull' });
    expect(await readdir(vm.volume)).toEqual(['os.img']);
  }
  await vm.write(0, BLOCKS);
  await resize(vm.volume, 80);
  await vm.hypervisor.beginReplication('vm', 1);
  await vm.write(0, BLOCKS);
  await vm.expectContent();
});

test('when another program fills the volume, replication gives up its space before the guest runs out', async (context) => {
  const vm = await CrampedVm.start(80, FLOOR, context);
  await vm.hypervisor.beginReplication('vm', 1);
  await vm.write(0, 16);
  await leave(vm.volume, 0);
  await vm.write(0, BLOCKS);
  expect(await vm.cause()).toMatch(/are free in|ENOSPC|no space/i);
  await expect(vm.hypervisor.openSnapshotDisk('vm', 1, 'os')).rejects.toMatchObject({ code: 'SnapshotGivenUp' });
  await vm.merged();
  await vm.expectContent();
});
