import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { createFixedVhd } from '../../disks/vhd.js';
import { decodeHeader, encodeSlot, slotPosition } from '../../tracking/change-log-format.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { guestOf, Workload } from '../support/workload.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { applyChanges } from '../support/change-sets.js';
import { requireReader, runReader } from '../support/readers.js';
import { smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MIB = 1024 * 1024;
const SIZE = 8 * MIB;

let folder: string;
let started: HypervisorProcess[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fs-hv-'));
  started = [];
});
afterEach(async () => {
  for (const hypervisor of started) await hypervisor.kill();
  await rm(folder, { recursive: true, force: true });
});

interface Site {
  readonly process: HypervisorProcess;
  readonly hypervisor: HypervisorClient;
}

/** A hypervisor with the VMs given by their disks, raw but for `data`, a VHD, in the folder of the test unless told otherwise. */
async function startSite(
  vms: Record<string, string[]>,
  options: { name?: string; diskFolder?: string; floor?: number } = {},
): Promise<Site> {
  const diskFolder = options.diskFolder ?? folder;
  const process = await HypervisorProcess.configure(folder, options.name ?? 'hv', {
    freeSpaceFloorBytes: options.floor ?? 0,
    vms: Object.entries(vms).map(([name, disks]) => ({
      name,
      disks: disks.map((disk) => ({
        name: disk,
        path: join(diskFolder, `${name}-${disk}.img`),
        format: disk === 'data' ? 'vhd' : 'raw',
      })),
    })),
  });
  started.push(process);
  await process.start();
  return { process, hypervisor: new HypervisorClient(process.controlSocket) };
}

async function makeDisk(path: string, size = SIZE): Promise<void> {
  await writeFile(path, '');
  await truncate(path, size);
}

async function mergeAll(hypervisor: HypervisorClient, vm: string): Promise<void> {
  while ((await hypervisor.mergeSnapshot(vm)) > 0);
}

describe('power', () => {
  it('a VM that is shut down refuses writes, and stays off through restarts', async () => {
    await makeDisk(join(folder, 'vm-os.img'));
    const { process, hypervisor } = await startSite({ vm: ['os'] });
    const guest = await guestOf(hypervisor, 'vm', 'os');
    await guest.write(Buffer.alloc(4096, 1), 0);
    const { exportsClosedAt } = await hypervisor.shutDownVm('vm');
    await expect(guest.write(Buffer.alloc(4096, 2), 0)).rejects.toThrow();
    expect((await readFile(join(folder, 'vm-os.img')))[0]).toBe(1);
    expect(await hypervisor.shutDownVm('vm')).toEqual({ exportsClosedAt });
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await process.kill(signal);
      await process.start();
      const vm = await hypervisor.describeVm('vm');
      expect(vm.state).toBe('Off');
      expect(vm.disks[0]!.nbdUri).toBeUndefined();
      expect(await hypervisor.shutDownVm('vm')).toEqual({ exportsClosedAt });
    }
    await hypervisor.fenceVm('vm', 4);
    await expect(hypervisor.startVm('vm', 3)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await hypervisor.startVm('vm', 4);
    await hypervisor.startVm('vm', 4);
    await (await guestOf(hypervisor, 'vm', 'os')).close();
    await process.kill();
    await process.start();
    expect((await hypervisor.describeVm('vm')).state).toBe('Running');
  });

  it('a VM that is started under a newer epoch is no longer tracked, because its logs may not be sent any more', async () => {
    await makeDisk(join(folder, 'vm-os.img'));
    const { hypervisor } = await startSite({ vm: ['os'] });
    await hypervisor.beginReplication('vm', 3);
    await mergeAll(hypervisor, 'vm');
    await hypervisor.shutDownVm('vm');
    await hypervisor.startVm('vm', 3);
    expect((await hypervisor.describeVm('vm')).tracking).toMatchObject({ epoch: 3 });
    await hypervisor.shutDownVm('vm');
    // It was failed over, and what ran at the other side was given up.
    await hypervisor.fenceVm('vm', 4);
    await hypervisor.startVm('vm', 5);
    const { tracking, state, disks } = await hypervisor.describeVm('vm');
    expect({ tracking, state, logBytes: disks[0]!.logBytes }).toEqual({
      tracking: undefined,
      state: 'Running',
      logBytes: 0,
    });
  });

  it('a VM that was fenced while it ran is not restarted automatically', async () => {
    await makeDisk(join(folder, 'vm-os.img'));
    const { process, hypervisor } = await startSite({ vm: ['os'] });
    await hypervisor.fenceVm('vm', 2);
    await process.kill();
    await process.start();
    expect((await hypervisor.describeVm('vm')).state).toBe('Off');
  });

  it('a missing disk keeps its VM off, but not the other VMs', async () => {
    await makeDisk(join(folder, 'good-os.img'));
    await makeDisk(join(folder, 'bad-os.img'));
    await rename(join(folder, 'bad-os.img'), join(folder, 'elsewhere'));
    const { hypervisor } = await startSite({ bad: ['os'], good: ['os'] });
    const [bad, good] = await hypervisor.listVms();
    expect(good).toMatchObject({ name: 'good', state: 'Running' });
    expect(bad).toMatchObject({ name: 'bad', state: 'Off', failure: { code: 'DiskMissing' } });
    await expect(hypervisor.startVm('bad', 1)).rejects.toMatchObject({ code: 'DiskMissing' });
    // Put back: the first who wants something of it finds it, and it runs as it was meant to.
    await expect(hypervisor.beginReplication('bad', 1)).rejects.toMatchObject({ code: 'DiskMissing' });
    await rename(join(folder, 'elsewhere'), join(folder, 'bad-os.img'));
    await hypervisor.beginReplication('bad', 1);
    const again = await hypervisor.describeVm('bad');
    expect(again).toMatchObject({ state: 'Running', disks: [{ nbdUri: expect.any(String) }] });
    expect(again.failure).toBeUndefined();
    await hypervisor.startVm('bad', 1);
    await expect(hypervisor.describeVm('none')).rejects.toMatchObject({ code: 'VmNotFound' });
  });

  it.for([
    ['damaged', (path: string) => writeFile(path, '{"power": "Runn')],
    ['empty', (path: string) => writeFile(path, '')],
    ['a FIFO', (path: string) => replaceByFifo(path)],
  ] as const)('a state file that is %s keeps its VM off and is named; the other VMs run', async ([, damage]) => {
    await makeDisk(join(folder, 'good-os.img'));
    await makeDisk(join(folder, 'bad-os.img'));
    const { process, hypervisor } = await startSite({ bad: ['os'], good: ['os'] });
    await hypervisor.fenceVm('bad', 7);
    await hypervisor.shutDownVm('bad');
    await process.kill();
    const path = join(folder, 'hv.state', 'bad.json');
    const kept = await readFile(path);
    await damage(path);
    await process.start();
    const [bad, good] = await hypervisor.listVms();
    expect(good).toMatchObject({ name: 'good', state: 'Running' });
    expect(bad).toMatchObject({ name: 'bad', state: 'Off', failure: { code: 'InvalidVmState' } });
    expect(bad!.failure!.detail).toContain(path);
    for (const ask of [
      () => hypervisor.startVm('bad', 9),
      () => hypervisor.fenceVm('bad', 9),
      () => hypervisor.beginReplication('bad', 9),
      () => hypervisor.shutDownVm('bad'),
      () => hypervisor.turnOffVm('bad'),
    ]) {
      await expect(ask()).rejects.toMatchObject({ code: 'InvalidVmState', detail: expect.stringContaining(path) });
    }
    await rm(path);
    await writeFile(path, kept);
    // What it knew is known again: it runs elsewhere.
    await expect(hypervisor.startVm('bad', 6)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await hypervisor.startVm('bad', 7);
    await process.kill('SIGTERM');
  });

  it('a FIFO in place of a disk or a log does not block anything', async () => {
    for (const vm of ['disk', 'log', 'good']) await makeDisk(join(folder, `${vm}-os.img`));
    const { process, hypervisor } = await startSite({ disk: ['os'], log: ['os'], good: ['os'] });
    await hypervisor.beginReplication('log', 1);
    await mergeAll(hypervisor, 'log');
    await process.kill();
    await replaceByFifo(join(folder, 'disk-os.img'));
    await replaceByFifo(join(folder, 'log-os.img.0001-00000001.hrl'));
    await process.start();
    const [disk, log, good] = await hypervisor.listVms();
    expect(disk).toMatchObject({ state: 'Off', failure: { code: 'BrokenChain' } });
    expect(log).toMatchObject({
      state: 'Running',
      tracking: { resyncCause: expect.stringContaining('is not a file') },
    });
    expect(good!.state).toBe('Running');
    await process.kill('SIGTERM');
  });

  it('two hypervisors never use the same state folder or the same disk', async () => {
    await makeDisk(join(folder, 'vm-os.img'));
    const first = await startSite({ vm: ['os'] });
    await expect(startSite({ vm: ['os'] })).rejects.toThrow('another hypervisor');
    const second = await startSite({ vm: ['os'] }, { name: 'hv2' });
    expect(await second.hypervisor.describeVm('vm')).toMatchObject({
      state: 'Off',
      failure: { code: 'InvalidVmState' },
    });
    await first.process.kill();
    await expect(first.hypervisor.listVms()).rejects.toMatchObject({ code: 'HypervisorUnreachable' });
    await second.hypervisor.startVm('vm', 1);
  });
});

describe('replication', () => {
  it('a snapshot plus change sets equals the disk after overlapping connections, cuts and kills', async (context) => {
    requireReader('qemu-img', context);
    await writeFile(join(folder, 'vm-os.img'), randomBytes(SIZE));
    await createFixedVhd(join(folder, 'vm-data.img'), SIZE);
    const { process, hypervisor } = await startSite({ vm: ['os', 'data'] });
    const workload = new Workload(hypervisor, 'vm', ['os', 'data']);
    await workload.write(60);

    const before = workload.start();
    await hypervisor.beginReplication('vm', 1);
    await hypervisor.beginReplication('vm', 1);
    await workload.stop(before);
    const copies = new Map<string, Buffer>();
    for (const name of ['os', 'data']) {
      const disk = await hypervisor.openSnapshotDisk('vm', 1, name);
      const content = Buffer.alloc(SIZE);
      await disk.read(content, 0);
      await disk.close();
      copies.set(name, content);
    }
    let kills = 0;
    let merged = false;
    let sequence = 1;
    const cutAndApply = async () => {
      const fence = { epoch: 1, sequence };
      const cut = await hypervisor.cut('vm', fence);
      // Repeated, as the agent does that got no answer.
      expect(await hypervisor.cut('vm', fence)).toEqual(cut);
      await applyChanges(await hypervisor.openChangeSet(cut), copies);
      await hypervisor.releaseCuts(cut);
      sequence += 1;
      return cut;
    };
    for (let round = 1; round <= 12; round += 1) {
      const writing = workload.start();
      if (round === 3 || round === 4) merged = (await hypervisor.mergeSnapshot('vm')) === 0;
      await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 40));
      const cutting = hypervisor.cut('vm', { epoch: 1, sequence }).catch((error: unknown) => error);
      const dies = round % 3 === 0;
      if (dies) {
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 12));
        await process.kill();
        kills += 1;
      }
      await cutting;
      await workload.stop(writing);
      if (dies) {
        await process.start();
        await workload.checkAndSettle();
      }
      await cutAndApply();
      // With the guests quiet for a moment, the two sides must be the same.
      await cutAndApply();
      for (const name of ['os', 'data']) {
        expect((await workload.contentOf(name)).equals(copies.get(name)!), `${name}, round ${round}`).toBe(true);
      }
    }
    expect(kills).toBe(4);
    expect(workload.acknowledged).toBeGreaterThan(500);
    if (!merged) await mergeAll(hypervisor, 'vm');
    await hypervisor.shutDownVm('vm');
    expect((await cutAndApply()).final).toBe(true);
    for (const name of ['os', 'data']) {
      const path = join(folder, `vm-${name}.img`);
      expect((await readFile(path)).subarray(0, SIZE).equals(copies.get(name)!)).toBe(true);
      await writeFile(join(folder, `${name}.replica`), copies.get(name)!);
      await runReader(
        'qemu-img',
        'compare',
        '-f',
        name === 'data' ? 'vpc' : 'raw',
        '-F',
        'raw',
        path,
        join(folder, `${name}.replica`),
      );
    }
    await hypervisor.startVm('vm', 1);
    await workload.checkAndSettle();
    await hypervisor.endReplication('vm');
    await hypervisor.endReplication('vm');
    expect((await readdir(folder)).filter((name) => /\.(hrl|avhd)/.test(name))).toEqual([]);
  }, 120_000);

  it('a new epoch keeps the writes of guests since an older snapshot', async () => {
    await makeDisk(join(folder, 'vm-os.img'));
    const { process, hypervisor } = await startSite({ vm: ['os'] });
    await hypervisor.beginReplication('vm', 1);
    let guest = await guestOf(hypervisor, 'vm', 'os');
    await guest.write(Buffer.alloc(102_400, 1), 4096);
    await process.kill();
    await process.start();
    await hypervisor.beginReplication('vm', 2);
    await expect(hypervisor.beginReplication('vm', 1)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await expect(hypervisor.openSnapshotDisk('vm', 1, 'os')).rejects.toMatchObject({ code: 'InvalidVmState' });
    const snapshot = await hypervisor.openSnapshotDisk('vm', 2, 'os');
    const content = Buffer.alloc(102_400);
    await snapshot.read(content, 4096);
    expect(content.equals(Buffer.alloc(102_400, 1))).toBe(true);
    guest = await guestOf(hypervisor, 'vm', 'os');
    await guest.write(Buffer.alloc(4096, 2), 0);
    await snapshot.read(content, 0);
    expect(content[0]).toBe(0);
    await snapshot.close();
    await guest.read(content, 0);
    expect(content[0]).toBe(2);
    await guest.close();
    await mergeAll(hypervisor, 'vm');
    expect((await readFile(join(folder, 'vm-os.img')))[0]).toBe(2);
    expect((await hypervisor.describeVm('vm')).snapshot).toBeUndefined();
  });

  it('a VM that is off can be snapshotted, cut and merged, in files that only their owner may use', async () => {
    const usual = process.umask(0o022);
    onTestFinished(() => void process.umask(usual));
    await writeFile(join(folder, 'vm-os.img'), randomBytes(SIZE));
    const { hypervisor } = await startSite({ vm: ['os'] });
    await hypervisor.shutDownVm('vm');
    await hypervisor.beginReplication('vm', 1);
    expect(await hypervisor.describeVm('vm')).toMatchObject({ state: 'Off', snapshot: 'replication-1' });
    expect(await hypervisor.cut('vm', { epoch: 1, sequence: 1 })).toMatchObject({ final: true });
    const beside = (await readdir(folder)).filter((name) => name.startsWith('vm-os.img.')).toSorted();
    expect(beside).toEqual([
      'vm-os.img.0001-00000001.hrl',
      'vm-os.img.0001-00000002.hrl',
      'vm-os.img.avhd',
      'vm-os.img.avhd.bitmap',
    ]);
    for (const name of beside) expect((await stat(join(folder, name))).mode & 0o777, name).toBe(0o600);
    expect(await hypervisor.mergeSnapshot('vm')).toBe(0);
    await hypervisor.startVm('vm', 1);
    expect(await hypervisor.cut('vm', { epoch: 1, sequence: 2 })).toMatchObject({ final: false });
  });

  it('an orderly restart loses no tracking, even after a reboot; a kill followed by a reboot does', async () => {
    await makeDisk(join(folder, 'vm-os.img'));
    const { process, hypervisor } = await startSite({ vm: ['os'] });
    await hypervisor.beginReplication('vm', 1);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const guest = await guestOf(hypervisor, 'vm', 'os');
      await guest.write(Buffer.alloc(4096, 1), 0);
      await process.kill(signal);
      await pretendOtherBoot(join(folder, 'vm-os.img.0001-00000001.hrl'));
      await process.start();
      const { tracking } = await hypervisor.describeVm('vm');
      expect(tracking!.resyncCause === undefined).toBe(signal === 'SIGTERM');
    }
    await expect(hypervisor.cut('vm', { epoch: 1, sequence: 1 })).rejects.toMatchObject({ code: 'ResyncRequired' });
  });

  it('tracking stops at half the size of a disk even if no agent runs, and the guest keeps running', async () => {
    await makeDisk(join(folder, 'vm-os.img'));
    const { process, hypervisor } = await startSite({ vm: ['os'] });
    await hypervisor.beginReplication('vm', 1);
    await mergeAll(hypervisor, 'vm');
    const guest = await guestOf(hypervisor, 'vm', 'os');
    const content = randomBytes(SIZE);
    for (let at = 0; at < SIZE; at += 256 * 1024) await guest.write(content.subarray(at, at + 256 * 1024), at);
    await process.kill();
    expect((await readFile(join(folder, 'vm-os.img'))).equals(content)).toBe(true);
    const [log] = (await readdir(folder)).filter((name) => name.endsWith('.hrl'));
    expect((await stat(join(folder, log!))).size).toBe(4096);
    await process.start();
    const vm = await hypervisor.describeVm('vm');
    expect(vm).toMatchObject({ state: 'Running', tracking: { epoch: 1, openSequence: 1 } });
    expect(vm.tracking!.resyncCause).toContain('50 %');
  });

  it.for([
    ['the volume is full', 0, 'ENOSPC|no space'],
    ['the free space falls under the floor', 16 * MIB, 'are free in'],
  ] as const)('tracking stops when %s, and the guest keeps running', async ([, floor, cause], context) => {
    const volume = await smallFileSystem(join(await temporaryFolder(), 'volume'), 40, context);
    // As large as to never reach half of it, and allocated where the guest writes.
    await makeDisk(join(volume, 'vm-os.img'), 256 * MIB);
    const file = await open(join(volume, 'vm-os.img'), 'r+');
    await file.write(Buffer.alloc(8 * MIB, 1), 0, 8 * MIB, 0);
    await file.close();
    const { process: hv, hypervisor } = await startSite({ vm: ['os'] }, { diskFolder: volume, floor });
    await hypervisor.beginReplication('vm', 1);
    await mergeAll(hypervisor, 'vm');
    const guest = await guestOf(hypervisor, 'vm', 'os');
    const data = randomBytes(MIB);
    for (let i = 0; i < 48; i += 1) await guest.write(data, (i % 8) * MIB);
    const { tracking, disks } = await hypervisor.describeVm('vm');
    expect(tracking!.resyncCause).toMatch(new RegExp(cause, 'i'));
    await hv.kill();
    await hv.start();
    expect((await hypervisor.describeVm('vm')).tracking!.resyncCause).toBe(tracking!.resyncCause);
    expect(disks[0]!.logBytes).toBeLessThan(40 * MIB);
    // The space is there again.
    const [log] = (await readdir(volume)).filter((name) => name.endsWith('.hrl'));
    expect((await stat(join(volume, log!))).size).toBe(4096);
    await hv.kill();
  });
});

async function replaceByFifo(path: string): Promise<void> {
  await rm(path);
  await promisify(execFile)('mkfifo', [path]);
}

/** Rewrites a log's header as a machine that was restarted since would find it. */
async function pretendOtherBoot(path: string): Promise<void> {
  const file = await open(path, 'r+');
  const bytes = Buffer.alloc(4096);
  await file.read(bytes, 0, 4096, 0);
  const { header, generation } = decodeHeader(bytes)!;
  header.bootId = '01234567-89ab-cdef-0123-456789abcdef';
  for (const each of [generation - 1, generation]) {
    const slot = encodeSlot(header, each);
    await file.write(slot, 0, slot.length, slotPosition(each));
  }
  await file.close();
}
