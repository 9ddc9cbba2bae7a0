/** Changes of replica VMs through kills, over the overlays that their disks are, compared with a plain read of the files. */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { end, type Range } from '../../domain/ranges.js';
import type { Cut } from '../../ports/change-source.js';
import { replicaSizeOf } from '../../replication/replica.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { RecoveryComputeClient } from '../../sites/hypervisor/control-client.js';
import { computeSpec } from '../contracts/recovery-compute.js';
import { applyChanges } from '../support/change-sets.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { writeDisk } from '../support/replica-disks.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { Workload } from '../support/workload.js';

const VM = 'db';
const EPOCH = 4;
const KiB = 1024;
const MiB = 1024 * KiB;
const BLOCK = 64 * KiB;

interface Site {
  readonly process: HypervisorProcess;
  readonly compute: RecoveryComputeClient;
  /** Where a disk of the VM lies. */
  fileOf(disk: string): string;
}

/** A replica VM that is off, in a process that runs. @param sizes where a disk is to be of zeroes, instead of its content. */
async function startSite(point: ReadonlyMap<string, Buffer>, sizes: Record<string, number> = {}): Promise<Site> {
  const folder = await temporaryFolder();
  const store = await EmbeddedReplicaStore.open(join(folder, 'store'), { create: true });
  const fence = { epoch: EPOCH - 1, sequence: 1 };
  const disks: Record<string, { size: number; snapshot: string }> = {};
  for (const [name, size] of [
    ...[...point].map(([of, bytes]) => [of, bytes.length] as const),
    ...Object.entries(sizes),
  ]) {
    const disk = { vm: VM, disk: name };
    await store.disks.create(disk, replicaSizeOf(size), fence);
    const bytes = point.get(name);
    if (bytes) await writeDisk(store.disks, disk, [{ offset: 0, data: bytes }], fence);
    disks[name] = { size, snapshot: await store.disks.snapshot(disk, fence) };
    await writeDisk(store.disks, disk, [{ offset: 0, data: Buffer.alloc(MiB, 0xee) }], fence);
  }
  const process = await HypervisorProcess.configure(folder, 'rc', {
    recovery: { store: { kind: 'embedded', path: join(folder, 'store') } },
  });
  onTestFinished(async () => {
    await process.kill();
    await store.close();
  });
  await process.start();
  const compute = new RecoveryComputeClient(process.controlSocket, store.disks);
  await compute.createVm(computeSpec(VM, disks, EPOCH));
  return { process, compute, fileOf: (disk) => join(folder, 'rc.state', 'vms', VM, `${disk}.avhd`) };
}

/** A disk put together from the files of its overlay and its point, by nothing of what made them. */
async function plainRead(path: string, point: Buffer): Promise<Buffer> {
  const [data, bitmap] = await Promise.all([readFile(path), readFile(`${path}.bitmap`)]);
  const disk = Buffer.from(point);
  for (let at = 0; at < disk.length; at += BLOCK) {
    const block = at / BLOCK;
    if (bitmap[4096 + (block >> 3)]! & (1 << (block & 7))) data.copy(disk, at, at, Math.min(at + BLOCK, disk.length));
  }
  return disk;
}

async function snapshotOf(compute: RecoveryComputeClient, epoch: number, disk: string): Promise<Buffer> {
  const opened = await compute.openSnapshotDisk(VM, epoch, disk);
  const bytes = Buffer.alloc(opened.size);
  await opened.read(bytes, 0);
  await opened.close();
  return bytes;
}

async function written(compute: RecoveryComputeClient, disk: string): Promise<{ ranges: Range[]; pages: number }> {
  const ranges: Range[] = [];
  let pages = 0;
  for await (const page of compute.listWritten(VM, disk)) {
    ranges.push(...page);
    pages += 1;
  }
  return { ranges, pages };
}

test('point, list of written ranges, snapshots and cuts together equal the disk, whatever is killed', async () => {
  const point = new Map([
    ['os', randomBytes(8 * MiB)],
    ['data', Buffer.concat([Buffer.alloc(6 * MiB), randomBytes(2 * MiB + 512)])],
  ]);
  const { process, compute, fileOf } = await startSite(point);
  const names = [...point.keys()];
  const workload = new Workload(compute, VM, names);
  let kills = 0;
  /** Asks for it while guests write, kills the process meanwhile, and starts it again. */
  const killedWhile = async (work: () => Promise<unknown>) => {
    const writing = workload.start();
    await sleep(5 + Math.random() * 30);
    const ended = work().catch((error: unknown) => error);
    await sleep(Math.random() * 12);
    await process.kill();
    kills += 1;
    await Promise.all([ended, workload.stop(writing)]);
    await process.start();
    await workload.checkAndSettle();
  };

  await compute.beginReplication(VM, EPOCH);
  await process.kill();
  await process.start();
  await compute.beginReplication(VM, EPOCH);
  let copies = new Map<string, Buffer>();
  for (const disk of names) {
    copies.set(disk, await snapshotOf(compute, EPOCH, disk));
    expect(copies.get(disk)!.equals(point.get(disk)!)).toBe(true);
  }
  await compute.startVm(VM, EPOCH);

  let fence = { epoch: EPOCH, sequence: 1 };
  const apply = async (cut: Cut) => {
    await applyChanges(await compute.openChangeSet(cut), copies);
    await compute.releaseCuts(cut);
    fence = { ...fence, sequence: fence.sequence + 1 };
  };
  const expectCopies = async (of: string, read: (disk: string) => Promise<Buffer>) => {
    for (const disk of names) expect((await read(disk)).equals(copies.get(disk)!), `${disk}, ${of}`).toBe(true);
  };
  for (let round = 1; round <= 4; round += 1) {
    await killedWhile(() => compute.cut(VM, fence));
    // What was cut before the kill, and with the guests quiet for a moment everything.
    for (let cuts = 0; cuts < 2; cuts += 1) await apply(await compute.cut(VM, fence));
    await expectCopies(`cut, round ${round}`, (disk) => workload.contentOf(disk));

    await killedWhile(() => compute.mergeSnapshot(VM));
    for (let cuts = 0; cuts < 2; cuts += 1) await apply(await compute.cut(VM, fence));
    await expectCopies(`merge, round ${round}`, (disk) => workload.contentOf(disk));

    await killedWhile(() => compute.snapshotAndCut(VM, fence));
    const writing = workload.start(20);
    await apply(await compute.snapshotAndCut(VM, fence));
    await expectCopies(`snapshot, round ${round}`, (disk) => snapshotOf(compute, EPOCH, disk));
    await expectCopies(`file, round ${round}`, (disk) => plainRead(fileOf(disk), point.get(disk)!));
    await workload.stop(writing);
  }

  // A copy that still has the point needs only what is listed.
  await killedWhile(() => compute.beginReplication(VM, EPOCH + 1));
  await compute.beginReplication(VM, EPOCH + 1);
  const writing = workload.start();
  fence = { epoch: EPOCH + 1, sequence: 1 };
  copies = new Map([...point].map(([disk, bytes]) => [disk, Buffer.from(bytes)]));
  for (const disk of names) {
    const frozen = await compute.openSnapshotDisk(VM, EPOCH + 1, disk);
    for (const range of (await written(compute, disk)).ranges) {
      await frozen.read(copies.get(disk)!.subarray(range.offset, end(range)), range.offset);
    }
    await frozen.close();
  }
  await expectCopies('of what is listed', (disk) => snapshotOf(compute, EPOCH + 1, disk));
  await workload.stop(writing);
  await killedWhile(() => compute.mergeSnapshot(VM));
  while ((await compute.mergeSnapshot(VM)) > 0);
  await compute.turnOffVm(VM);
  const last = await compute.cut(VM, fence);
  await apply(last);
  if (!last.final) await apply(await compute.cut(VM, fence));
  await expectCopies('in the end', (disk) => plainRead(fileOf(disk), point.get(disk)!));

  expect(kills).toBe(14);
  expect(workload.acknowledged).toBeGreaterThan(300);
  await compute.endReplication(VM);
  expect((await readdir(join(fileOf('os'), '..'))).toSorted()).toEqual(
    ['data.avhd', 'data.avhd.bitmap', 'os.avhd', 'os.avhd.bitmap', 'spec.json', 'state.json'].toSorted(),
  );
}, 120_000);

test('a long list of written ranges comes in pages, in order', async () => {
  const size = 1024 * MiB + 512;
  const { process, compute, fileOf } = await startSite(new Map(), { os: size });
  await process.kill('SIGTERM');
  // Every other block, as a guest would take hours to write them; the last block is cut off.
  const blocks = Math.ceil(size / BLOCK);
  const file = await open(`${fileOf('os')}.bitmap`, 'r+');
  await file.write(Buffer.alloc(Math.ceil(blocks / 8), 0b01010101), 0, undefined, 4096);
  await file.close();
  await process.start();
  const { ranges, pages } = await written(compute, 'os');
  expect(pages).toBeGreaterThan(1);
  const expected = Array.from({ length: Math.ceil(blocks / 2) }, (_, index) => {
    const offset = index * 2 * BLOCK;
    return { offset, length: Math.min(BLOCK, size - offset) };
  });
  expect(ranges).toEqual(expected);
});
