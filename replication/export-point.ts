/**
 * Writes a state of a VM as files in common formats: a fixed VHD for each disk, and the VM's description. A disk file
 * gets its name when it is completely on stable storage. `export.json`, which says what was exported, is written last.
 * Until then, a marker shows that the export is unfinished; a second attempt begins again.
 */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReadableDisk } from '../disks/disk.js';
import { RawDisk } from '../disks/raw.js';
import { syncFolder } from '../disks/sync-folder.js';
import { footerOfDisk, VHD_FOOTER_BYTES } from '../disks/vhd.js';
import { CatalogueError } from '../domain/errors.js';
import { compareFences } from '../domain/fence.js';
import { nameSchema } from '../domain/ids.js';
import { splitRange, type Range } from '../domain/ranges.js';
import {
  replicaDescriptionSchema,
  type CycleManifest,
  type RecoveryPoint,
  type ReplicaDescription,
} from '../domain/vault.js';
import type { DiskStore, RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { BATCH_BYTES } from './change-file-reader.js';
import { proveChanges, type ProvenChanges } from './apply.js';
import { describedAt } from './described-point.js';
import { claimFolder, ExportRefused, openNew, releaseFolder, writeWhole } from './export-folder.js';
import { choosePoint, lagOf, LATEST, LATEST_PROCESSED, type ChosenPoint } from './failover-point.js';
import { isUnwritable, withLease, type HeldLease } from './point-leases.js';
import { readUnlessAway } from './point-records.js';
import { readAhead } from '../concurrency/in-parallel.js';
import { cyclesAfter, unusable } from './received-cycles.js';
import { readAppliedIfWhole } from './recovery-target.js';
import { listRecoveryPoints } from './recovery-points.js';
import { readDescription, readFenceIfWhole, readVaultState } from './replica-state.js';
import { encodeRecord } from './vault-record.js';
import { missingDescription, vaultVms } from './vault-survey.js';
import { withDisk } from './with-disk.js';

export interface ExportTask {
  readonly vm: string;
  /** latest: including every completely received cycle; latest-processed; or a recovery point's id. */
  readonly wanted: string;
  /** Created if it does not exist. */
  readonly folder: string;
  readonly onDisk?: (disk: string, bytes: number) => void;
}

export interface Exported {
  readonly vm: string;
  readonly recoveryPoint: string;
  /** The instant of the disks' content. ISO 8601. */
  readonly time: string;
  /** Number of received cycles that were added on top of the point. */
  readonly cyclesAdded: number;
  /** Why the point may not be what the guest wrote. */
  readonly suspect?: string;
  /** Newer data that is damaged and was left out, and how much older this state is. */
  readonly stoppedBy?: string;
  /**
   * Since when the VM has run at the recovery site, from the state of then: data written there is not in the vault. ISO
   * 8601.
   */
  readonly ranFrom?: string;
  readonly disks: readonly { readonly name: string; readonly file: string; readonly size: number }[];
}

const SUMMARY = 'export.json';
/** Bytes for which the store's data map is requested at a time, and that are read at a time. */
const WINDOW = 256 * 1024 * 1024;
const PIECE = 4 * 1024 * 1024;
const READS_AHEAD = 3;
/** Milliseconds. */
const APPLY_TIME_MS = 10_000;
const APPLY_POLL_MS = 250;

/**
 * Only reads the store, with two exceptions: it takes a lease so that the data is not pruned meanwhile, and makes a
 * recovery point of a live state that has none yet. A store that can only be read is read without both. `latest` ends
 * before a damaged cycle, and says so.
 * @throws ExportRefused; CatalogueError InvalidReplicaState, RecoveryPointNotFound if there is no such state; the
 * errors of writing files.
 */
export async function exportPoint(store: ReplicaStore, task: ExportTask): Promise<Exported> {
  const { vm } = task;
  const description = nameSchema.safeParse(vm).success ? await readDescription(store, vm) : undefined;
  if (!description) {
    const isHeld = (await vaultVms(store)).includes(vm);
    throw new ExportRefused(isHeld ? `${vm}: ${missingDescription(vm)}` : `the vault holds no VM ${vm}`);
  }
  return await withLease(store, vm, async (lease) => await exportLeased(store, description, task, lease));
}

async function exportLeased(
  store: ReplicaStore,
  description: ReplicaDescription,
  task: ExportTask,
  lease: HeldLease,
): Promise<Exported> {
  const { vm, wanted, folder } = task;
  await untilApplied(store, description);
  const { point, passedOver } = await chooseReadable(store, vm, wanted);
  const ranFrom = await ranFromOf(store, vm);
  await lease.narrow(point);
  const described = await describedAt(store, description, point);
  const received = wanted === LATEST ? await provenCycles(store, description, point) : { cycles: [] };
  const { cycles } = received;
  const stops = new Set([...passedOver, ...(received.stoppedBy === undefined ? [] : [received.stoppedBy])]);
  const newest = cycles.at(-1)?.manifest;
  const time = newest?.sealedAt ?? point.time;
  const lag = stops.size > 0 && wanted === LATEST ? await lagOf(store, vm, { ...(newest ?? point), time }) : undefined;
  const disks = point.disks.map(({ name, snapshot }) => ({ name, snapshot, file: path.join(folder, `${name}.vhd`) }));

  const marker = await claimFolder(folder, [...disks.map(({ file }) => file), path.join(folder, SUMMARY)]);
  try {
    const sizes = new Map<string, number>();
    for (const { name, snapshot, file } of disks) {
      const size = await writeDisk(store, { vm, name, snapshot, file }, cycles).catch((error: unknown) => {
        if (!(error instanceof CatalogueError) || error.code !== 'SourceDiskFull') throw error;
        throw new ExportRefused(
          `${folder} has no space for disk ${name}; free space there, and run the same command again`,
          {
            cause: error,
          },
        );
      });
      sizes.set(name, size);
      task.onDisk?.(name, size);
    }
    const exported: Exported = {
      vm,
      recoveryPoint: point.id,
      time,
      cyclesAdded: cycles.length,
      ...(point.suspect !== undefined && { suspect: point.suspect }),
      ...(ranFrom !== undefined && { ranFrom }),
      ...(stops.size > 0 && { stoppedBy: [...stops, ...(lag === undefined ? [] : [lag])].join('; ') }),
      disks: disks.map(({ name, file }) => ({ name, file: path.basename(file), size: sizes.get(name)! })),
    };
    await writeWhole(path.join(folder, 'description.json'), encodeRecord(replicaDescriptionSchema, described));
    await writeWhole(path.join(folder, SUMMARY), Buffer.from(`${JSON.stringify(exported, undefined, 2)}\n`));
    await releaseFolder(folder);
    return exported;
  } finally {
    await marker.close();
  }
}

/** If this is unknown, the disks are worth exporting anyway. */
async function ranFromOf(store: RecordStore, vm: string): Promise<string | undefined> {
  try {
    return (await readVaultState(store, vm))?.recoveryPointTime;
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  }
}

/** As `choosePoint`; if the store accepts no new point, the newest existing one is used instead of the live state. */
async function chooseReadable(store: ReplicaStore, vm: string, wanted: string): Promise<ChosenPoint> {
  try {
    return await choosePoint(store, vm, wanted);
  } catch (error) {
    const isLive = wanted === LATEST || wanted === LATEST_PROCESSED;
    if (!isLive || !(error instanceof CatalogueError) || !isUnwritable(error)) throw error;
    // A cycle without changes has no point of its own, so this is usually the same state.
    const newest = (await listRecoveryPoints(store, vm)).at(-1);
    if (!newest) throw error;
    const reason = `the store takes no recovery point of the newest state from here (${error.message})`;
    return { point: newest, passedOver: [reason] };
  }
}

/** Gives a worker that is applying a cycle time to finish: meanwhile only an older point is available. */
async function untilApplied(store: RecordStore, description: ReplicaDescription): Promise<void> {
  for (let waited = 0; waited < APPLY_TIME_MS; waited += APPLY_POLL_MS) {
    const found = await readAppliedIfWhole(store, description);
    const applied = 'state' in found ? found.state : undefined;
    const fence = await readFenceIfWhole(store, description.vm);
    if (!fence || fence.epoch !== applied?.epoch || fence.sequence === applied.sequence) return;
    await sleep(APPLY_POLL_MS);
  }
}

interface DiskTask {
  readonly vm: string;
  readonly name: string;
  readonly snapshot: string;
  readonly file: string;
}

interface ProvenCycle {
  readonly manifest: CycleManifest;
  readonly changes: readonly ProvenChanges[];
}

/**
 * The received cycles that can be added to a point, up to the first with any damage: a cycle is applied to all disks or
 * none. Every change file is compared with the digest in its manifest before a byte is written.
 */
async function provenCycles(
  store: RecordStore,
  description: ReplicaDescription,
  point: RecoveryPoint,
): Promise<{ cycles: readonly ProvenCycle[]; stoppedBy?: string }> {
  const { vm } = description;
  const cycles: ProvenCycle[] = [];
  if (point.epoch !== description.epoch) return { cycles };
  const applied = await readAppliedIfWhole(store, description);
  // Only the newest applied state tells which writes the point contains.
  const isLive = 'state' in applied && applied.state && compareFences(applied.state, point) === 0;
  const { epoch, sequence } = point;
  const at = isLive ? applied.state : { epoch, sequence, disks: [] };
  const received = await cyclesAfter(store, description, at);
  try {
    for (const manifest of received.cycles) {
      const changes = await readUnlessAway(store, vm, () => proveChanges(store, manifest));
      cycles.push({ manifest, changes });
    }
    return { cycles, ...(received.stoppedBy !== undefined && { stoppedBy: received.stoppedBy }) };
  } catch (error) {
    return { cycles, stoppedBy: unusable(error) };
  }
}

/** @returns the virtual size, bytes. */
async function writeDisk(store: DiskStore, task: DiskTask, cycles: readonly ProvenCycle[]): Promise<number> {
  const { vm, name, snapshot, file } = task;
  return await withDisk(store.disks.openReadOnly({ vm, disk: name }, snapshot), async (replica) => {
    const { size } = replica;
    const unfinished = `${file}.partial`;
    const fileSize = size + VHD_FOOTER_BYTES;
    const handle = await openNew(unfinished, fileSize);
    await withDisk(Promise.resolve(new RawDisk(handle, unfinished, fileSize)), async (disk) => {
      await copyContent(replica, disk);
      for (const cycle of cycles) await addCycle(cycle, name, disk);
      await disk.write(footerOfDisk(vm, name, size), size);
      await disk.flush();
      await handle.sync();
      await rename(unfinished, file);
      await syncFolder(path.dirname(file));
    });
    return size;
  });
}

async function copyContent(from: ReadableDisk, to: RawDisk): Promise<void> {
  const read = async ({ offset, length }: Range) => {
    const data = Buffer.allocUnsafe(length);
    await from.read(data, offset);
    return { offset, data };
  };
  for (const window of splitRange({ offset: 0, length: from.size }, WINDOW)) {
    const pieces = (await from.dataRanges(window)).flatMap((range) => [...splitRange(range, PIECE)]);
    for await (const { offset, data } of readAhead(pieces, READS_AHEAD, read)) await to.write(data, offset);
  }
}

async function addCycle({ changes }: ProvenCycle, name: string, disk: RawDisk): Promise<void> {
  const buffer = Buffer.allocUnsafe(BATCH_BYTES);
  for (const { reader } of changes.filter((change) => change.disk === name)) {
    for await (const batch of reader.batches()) {
      for (const write of await reader.load(batch, buffer)) {
        if ('data' in write) await disk.write(write.data, write.offset);
        else await disk.writeZeroes({ offset: write.offset, length: write.clear });
      }
    }
  }
}
