/**
 * Applies the next cycle to a replica. The whole cycle is verified before the first byte is written. From the time the
 * fence is raised until `applied.json` is replaced, the disks are between two cycles, and the cycle must be applied
 * from its start again, which gives the same bytes.
 */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, SEEDED_SEQUENCE } from '../domain/fence.js';
import { end } from '../domain/ranges.js';
import { appliedStateSchema, vaultPaths, type AppliedState, type CycleManifest } from '../domain/vault.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { readAppliedOf } from './applied-state.js';
import { BufferPool } from '../disks/buffer-pool.js';
import { BATCH_BYTES, ChangeFileReader, digestOfObject } from './change-file-reader.js';
import { changeFilesOf } from './change-parts.js';
import { progressMeter, type StepOptions } from './progress.js';
import { inParallel, readAhead } from '../concurrency/in-parallel.js';
import { descriptionOfEpoch, fenceOfEpoch, vmFence } from './replica-state.js';
import { putKept } from './kept-record.js';
import { checkManifest } from './received-cycles.js';
import { checkReplicaDisks } from './described-point.js';
import { readManifest } from './ship.js';
import { encodeRecord } from './vault-record.js';
import { withDisk } from './with-disk.js';

const FILES_IN_FLIGHT = 4;
const BATCHES_IN_FLIGHT = 4;

export interface ApplyOptions extends StepOptions {
  /** Called when the whole cycle has been verified, before its first byte is written. */
  readonly beforeWriting?: (cycle: CycleManifest) => Promise<unknown>;
}

export interface ApplyTask {
  readonly vm: string;
  readonly epoch: number;
  readonly sequence: number;
}

/**
 * Applies the cycle that follows the last applied one, to all disks or none. Does nothing if that cycle has already
 * been applied. May be aborted or die at any point, and be run again.
 * @throws CatalogueError OutOfSequence for any other cycle; StaleEpoch for one of an older epoch; ReplicaMissing;
 * InvalidReplicaState if the initial copy has not been verified, or the replica has other disks; LogBroken if there is
 * no manifest, or a change file does not match it: the log from which it was made no longer exists.
 */
export async function applyCycle(
  store: ReplicaStore,
  task: ApplyTask,
  options: ApplyOptions = {},
): Promise<AppliedState> {
  const { vm, epoch, sequence } = task;
  const fence = await fenceOfEpoch(store, vm, epoch);
  const description = await descriptionOfEpoch(store, vm, epoch);
  const applied = await readAppliedOf(store, description);
  const last = applied?.epoch === epoch ? applied : undefined;
  if (last?.sequence === sequence) return last;
  if (sequence !== (last?.sequence ?? 0) + 1) {
    const newest = last ? formatFence(last) : `the initial copy of epoch ${epoch}`;
    throw new CatalogueError('OutOfSequence', `${vm}: asked to apply ${formatFence(task)} to ${newest}`);
  }
  if (!last && fence.sequence < SEEDED_SEQUENCE) {
    throw new CatalogueError('InvalidReplicaState', `${vm}: the initial copy of epoch ${epoch} has not been verified`);
  }
  const manifest = await readManifest(store, vm, task);
  if (!manifest) {
    // Its logs were deleted when it was sent.
    throw new CatalogueError('LogBroken', `${vaultPaths.manifest(vm, epoch, sequence)} no longer exists`);
  }
  checkManifest(manifest, task, description, last);
  await checkReplicaDisks(store, description);

  // Every file is read twice: to verify it, and to apply it.
  const advance = progressMeter(
    manifest.disks.reduce((sum, { length }) => sum + length * 2, 0),
    options,
  );
  const changes = await proveChanges(store, manifest, advance, options.signal);
  await options.beforeWriting?.(manifest);
  const writing = vmFence(vm, task);
  await store.objects.raiseFence(writing);
  const buffers = new BufferPool(BATCH_BYTES);
  await inParallel(changes, FILES_IN_FLIGHT, async ({ disk, reader }) => {
    await withDisk(store.disks.open({ vm, disk }, writing), async (target) => {
      await inParallel(reader.batches(), BATCHES_IN_FLIGHT, async (batch) => {
        options.signal?.throwIfAborted();
        const buffer = buffers.take();
        await target.write(await reader.load(batch, buffer));
        buffers.give(buffer);
        advance(batch.content.length);
      });
    });
  });
  const state: AppliedState = {
    epoch,
    sequence,
    sealedAt: manifest.sealedAt,
    final: manifest.final,
    disks: manifest.disks.map(({ name: disk, lastWrite }) => ({ name: disk, lastWrite })),
  };
  await putKept(store.objects, vaultPaths.applied(vm), encodeRecord(appliedStateSchema, state), writing);
  return state;
}

/** One change file. Those of a disk follow each other, and do not overlap. */
export interface ProvenChanges {
  readonly disk: string;
  readonly reader: ChangeFileReader;
}

/** Compares every change file of a cycle with its digest. @throws CatalogueError LogBroken */
export async function proveChanges(
  store: RecordStore,
  manifest: CycleManifest,
  advance: (bytes: number) => void = () => undefined,
  signal?: AbortSignal,
): Promise<ProvenChanges[]> {
  const { vm, epoch, sequence } = manifest;
  const files = manifest.disks.flatMap((disk) => changeFilesOf(manifest, disk).map((file) => ({ disk, file })));
  const prove = async ({ disk: { name: disk, size: diskSize }, file }: (typeof files)[number]) => {
    const { name, length, digest } = file;
    const found = await digestOfObject(store.objects, name, length, (bytes) => {
      signal?.throwIfAborted();
      advance(bytes);
    });
    if (found !== digest) {
      const problem =
        found === undefined ? `missing, or shorter than ${length} bytes` : `of digest ${found}, not ${digest}`;
      throw new CatalogueError('LogBroken', `${name} is ${problem}`);
    }
    return {
      disk,
      reader: await ChangeFileReader.open(store.objects, name, { vm, disk, epoch, sequence, diskSize }, length),
    };
  };
  const proven: ProvenChanges[] = [];
  for await (const one of readAhead(files, FILES_IN_FLIGHT, prove)) {
    const before = proven.at(-1);
    if (before?.disk === one.disk && one.reader.covers.offset < end(before.reader.covers)) {
      throw new CatalogueError(
        'LogBroken',
        `${vaultPaths.manifest(vm, epoch, sequence)}: parts of ${one.disk} overlap`,
      );
    }
    proven.push(one);
  }
  return proven;
}
