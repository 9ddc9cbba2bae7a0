/**
 * Writes a state of a VM as files that anybody can use: a fixed VHD a disk, and the VM's description. A disk file gets
 * its name when all of it is on stable storage; `export.json`, which says what it is an export of, comes last. Until
 * then a marker says that what lies there is half an export, which a second attempt begins anew.
 */
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { diskError } from '../disks/disk-errors.js';
import { makeFolder } from '../disks/make-folder.js';
import { tryLockFile } from '../disks/native.js';
import { RawDisk } from '../disks/raw.js';
import { parseVhdFooter, VHD_FOOTER_BYTES } from '../disks/vhd.js';
import { CatalogueError } from '../domain/errors.js';
import { nameSchema } from '../domain/ids.js';
import { splitRange } from '../domain/ranges.js';
import { replicaDescriptionSchema, vaultPaths, type CycleManifest } from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { BATCH_BYTES } from './change-file-reader.js';
import { proveChanges } from './apply.js';
import { describedAt } from './described-point.js';
import { failoverPoint, LATEST, LATEST_PROCESSED } from './failover-point.js';
import { readAhead } from './read-ahead.js';
import { cyclesAfter } from './received-cycles.js';
import { readApplied, readDescription } from './replica-state.js';
import { sizeInBlob } from './replica.js';
import { encodeRecord } from './vault-record.js';

export interface ExportTask {
  readonly vm: string;
  /** latest: with every cycle that was received whole; latest-processed; or a recovery point's id. */
  readonly wanted: string;
  /** Made if it is not there. */
  readonly folder: string;
  readonly onDisk?: (disk: string, bytes: number) => void;
}

export interface Exported {
  readonly vm: string;
  readonly recoveryPoint: string;
  /** The instant the disks are at. ISO 8601. */
  readonly time: string;
  /** Received cycles that were added on top of the point. */
  readonly cyclesAdded: number;
  /** Why the point may not be what the guest wrote. */
  readonly suspect?: string;
  readonly disks: readonly { readonly name: string; readonly file: string; readonly size: number }[];
}

/** The target holds something that is not half an export. */
export class ExportRefused extends Error {
  override readonly name = 'ExportRefused';
}

const MARKER = '.export-unfinished';
const SUMMARY = 'export.json';
/** Bytes asked of the store's map at once, and read at once. */
const WINDOW = 256 * 1024 * 1024;
const PIECE = 4 * 1024 * 1024;
const READS_AHEAD = 3;
/** Milliseconds. */
const APPLY_TIME_MS = 10_000;
const APPLY_POLL_MS = 250;

/**
 * The store is only read, but for one thing: a live state that no point has been made of yet is made one.
 * @throws ExportRefused; CatalogueError InvalidReplicaState when there is no such state, LogBroken when a received
 * cycle is damaged, and what writing files can meet.
 */
export async function exportPoint(store: ReplicaStore, task: ExportTask): Promise<Exported> {
  const { vm, wanted, folder } = task;
  const description = nameSchema.safeParse(vm).success ? await readDescription(store, vm) : undefined;
  if (!description) throw new ExportRefused(`the vault holds no VM ${vm}`);
  await untilApplied(store, vm);
  const point = await failoverPoint(store, vm, wanted === LATEST ? LATEST_PROCESSED : wanted);
  const cycles = wanted === LATEST && point.epoch === description.epoch ? await cyclesAfter(store, vm, point) : [];
  const described = await describedAt(store, description, point);
  const disks = point.disks.map(({ name, snapshot }) => ({ name, snapshot, file: path.join(folder, `${name}.vhd`) }));

  const marker = await claim(folder, [...disks.map(({ file }) => file), path.join(folder, SUMMARY)]);
  try {
    const sizes = new Map<string, number>();
    for (const { name, snapshot, file } of disks) {
      const size = await writeDisk(store, { vm, name, snapshot, file }, cycles).catch((error: unknown) => {
        if (!(error instanceof CatalogueError) || error.code !== 'SourceDiskFull') throw error;
        throw new ExportRefused(`${folder} has no room for disk ${name}; make room, and give the same command again`, {
          cause: error,
        });
      });
      sizes.set(name, size);
      task.onDisk?.(name, size);
    }
    const exported: Exported = {
      vm,
      recoveryPoint: point.id,
      time: cycles.at(-1)?.sealedAt ?? point.time,
      cyclesAdded: cycles.length,
      ...(point.suspect !== undefined && { suspect: point.suspect }),
      disks: disks.map(({ name, file }) => ({ name, file: path.basename(file), size: sizes.get(name)! })),
    };
    await writeWhole(path.join(folder, 'description.json'), encodeRecord(replicaDescriptionSchema, described));
    await writeWhole(path.join(folder, SUMMARY), Buffer.from(`${JSON.stringify(exported, undefined, 2)}\n`));
    await rm(path.join(folder, MARKER));
    await syncFolder(folder);
    return exported;
  } finally {
    await marker.close();
  }
}

/** A worker that is applying a cycle is given time: in the midst of it only an older point can be had. */
async function untilApplied(store: ReplicaStore, vm: string): Promise<void> {
  for (let waited = 0; waited < APPLY_TIME_MS; waited += APPLY_POLL_MS) {
    const applied = await readApplied(store, vm);
    const fence = await store.readFence(vaultPaths.vm(vm));
    if (fence.epoch !== applied?.epoch || fence.sequence === applied.sequence) return;
    await sleep(APPLY_POLL_MS);
  }
}

/** @returns the marker, locked: two exports into one folder would write over each other. */
async function claim(folder: string, targets: readonly string[]): Promise<FileHandle> {
  try {
    await makeFolder(folder);
  } catch (error) {
    throw new ExportRefused(`${folder} can't be written to: ${(error as Error).message}`, { cause: error });
  }
  const isResumed = (await sizeOf(path.join(folder, MARKER))) !== undefined;
  const taken: string[] = [];
  for (const target of targets) if (((await sizeOf(target)) ?? 0) > 0) taken.push(target);
  if (taken.length > 0 && !isResumed) throw new ExportRefused(`${taken[0]} is there already, and is not empty`);
  const marker = await open(path.join(folder, MARKER), 'a');
  if (!tryLockFile(marker.fd, 'exclusive')) {
    await marker.close();
    throw new ExportRefused(`another export is writing to ${folder}`);
  }
  await marker.sync();
  await syncFolder(folder);
  // Of an attempt that died, and perhaps of another state.
  for (const target of taken) await rm(target);
  return marker;
}

interface DiskTask {
  readonly vm: string;
  readonly name: string;
  readonly snapshot: string;
  readonly file: string;
}

/** @returns the virtual size, bytes. */
async function writeDisk(store: ReplicaStore, task: DiskTask, cycles: readonly CycleManifest[]): Promise<number> {
  const { vm, name, snapshot, file } = task;
  const blob = vaultPaths.disk(vm, name);
  const blobSize = await store.pageBlobSize(blob, snapshot);
  if (blobSize === undefined) throw new CatalogueError('InvalidReplicaState', `there is no ${blob}`);
  const unfinished = `${file}.partial`;
  const handle = await openNew(unfinished, blobSize);
  const disk = new RawDisk(handle, unfinished, blobSize);
  try {
    for (const window of splitRange({ offset: 0, length: blobSize }, WINDOW)) {
      const ranges = await store.listPageRanges(blob, window, snapshot);
      const pieces = ranges.flatMap((range) => [...splitRange(range, PIECE)]);
      const read = async (piece: { offset: number; length: number }) => ({
        offset: piece.offset,
        data: await store.readPages(blob, piece.offset, piece.length, snapshot),
      });
      for await (const { offset, data } of readAhead(pieces, READS_AHEAD, read)) await disk.write(data, offset);
    }
    for (const cycle of cycles) await addCycle(store, cycle, name, disk);
    const footer = Buffer.alloc(VHD_FOOTER_BYTES);
    await disk.read(footer, sizeInBlob(blobSize));
    const { size } = parseVhdFooter(footer);
    if (size !== sizeInBlob(blobSize)) {
      throw new CatalogueError('BrokenChain', `${blob}: its footer tells of ${size} bytes, it has ${blobSize}`);
    }
    await disk.flush();
    await handle.sync();
    await rename(unfinished, file);
    await syncFolder(path.dirname(file));
    return size;
  } finally {
    await disk.close();
  }
}

/** Every change file is held against the digest of its manifest before the first byte of it is written. */
async function addCycle(store: ReplicaStore, cycle: CycleManifest, name: string, disk: RawDisk): Promise<void> {
  const ofDisk = { ...cycle, disks: cycle.disks.filter((one) => one.name === name) };
  const buffer = Buffer.allocUnsafe(BATCH_BYTES);
  for (const { reader } of await proveChanges(store, ofDisk)) {
    for await (const batch of reader.batches()) {
      for (const write of await reader.load(batch, buffer)) {
        if ('data' in write) await disk.write(write.data, write.offset);
        else await disk.writeZeroes({ offset: write.offset, length: write.clear });
      }
    }
  }
}

async function openNew(file: string, size: number): Promise<FileHandle> {
  try {
    const handle = await open(file, 'w+', 0o600);
    await handle.truncate(size);
    return handle;
  } catch (error) {
    throw diskError(error, file, 'write');
  }
}

async function writeWhole(file: string, data: Buffer): Promise<void> {
  const handle = await open(`${file}.partial`, 'w', 0o600);
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.partial`, file);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Undefined when there is no such file. */
async function sizeOf(file: string): Promise<number | undefined> {
  return await stat(file).then(
    ({ size }) => size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    },
  );
}
