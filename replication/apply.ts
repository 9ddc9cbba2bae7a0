/**
 * Brings a replica to its next cycle. Everything about the cycle is proven before the first byte is written; from the
 * raised fence to the new `applied.json` the disks are between two cycles, and the cycle has to be applied (again) from
 * its start, which gives the same bytes.
 */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, SEEDED_SEQUENCE } from '../domain/fence.js';
import {
  appliedStateSchema,
  vaultPaths,
  type AppliedState,
  type CycleManifest,
  type ReplicaDescription,
} from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { BufferPool } from './buffer-pool.js';
import { BATCH_BYTES, ChangeFileReader, digestOfObject } from './change-file-reader.js';
import { progressMeter, type StepOptions } from './progress.js';
import { inParallel, readAhead } from './read-ahead.js';
import { replicaBlobSize } from './replica.js';
import { descriptionOfEpoch, fenceOfEpoch, readApplied, vmFence } from './replica-state.js';
import { readManifest } from './ship.js';
import { encodeRecord } from './vault-record.js';

const DISKS_IN_FLIGHT = 4;
const BATCHES_IN_FLIGHT = 4;

export interface ApplyTask {
  readonly vm: string;
  readonly epoch: number;
  readonly sequence: number;
}

/**
 * Takes the cycle that follows the one applied last, of all disks or of none. Repeated for the cycle applied last:
 * nothing. Can be aborted or die anywhere and be run again.
 * @throws CatalogueError OutOfSequence for any other cycle; StaleEpoch for one of an older epoch; InvalidReplicaState
 * when there is no manifest, the initial copy has not been verified, or the replica is not of these disks; LogBroken
 * when a change file is not the one the manifest tells of: the log it was made from is gone.
 */
export async function applyCycle(
  store: ReplicaStore,
  task: ApplyTask,
  options: StepOptions = {},
): Promise<AppliedState> {
  const { vm, epoch, sequence } = task;
  const fence = await fenceOfEpoch(store, vm, epoch);
  const description = await descriptionOfEpoch(store, vm, epoch);
  const applied = await readApplied(store, vm);
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
    throw new CatalogueError('InvalidReplicaState', `there is no ${vaultPaths.manifest(vm, epoch, sequence)}`);
  }
  checkManifest(manifest, task, description, last);
  for (const { name: disk, replicaSize } of description.disks) {
    const size = await store.pageBlobSize(vaultPaths.disk(vm, disk));
    if (size === replicaBlobSize(replicaSize)) continue;
    throw new CatalogueError('InvalidReplicaState', `${vm}/${disk}: the replica has ${size ?? 'no'} bytes`);
  }

  // Every file is read twice: to prove it, and to apply it.
  const advance = progressMeter(
    manifest.disks.reduce((sum, { length }) => sum + length * 2, 0),
    options,
  );
  const changes = await proveChanges(store, manifest, advance, options.signal);
  const writing = vmFence(vm, task);
  await store.raiseFence(writing);
  const buffers = new BufferPool(BATCH_BYTES);
  await inParallel(changes, DISKS_IN_FLIGHT, async ({ disk, reader }) => {
    const blob = vaultPaths.disk(vm, disk);
    await inParallel(reader.batches(), BATCHES_IN_FLIGHT, async (batch) => {
      options.signal?.throwIfAborted();
      const buffer = buffers.take();
      await store.writePages(blob, await reader.load(batch, buffer), writing);
      buffers.give(buffer);
      advance(batch.content.length);
    });
  });
  const state: AppliedState = {
    epoch,
    sequence,
    sealedAt: manifest.sealedAt,
    final: manifest.final,
    disks: manifest.disks.map(({ name: disk, lastWrite }) => ({ name: disk, lastWrite })),
  };
  await store.putObject(vaultPaths.applied(vm), encodeRecord(appliedStateSchema, state), writing);
  return state;
}

function checkManifest(
  manifest: CycleManifest,
  task: ApplyTask,
  description: ReplicaDescription,
  last: AppliedState | undefined,
): void {
  const refused = (problem: string) =>
    new CatalogueError('InvalidReplicaState', `${task.vm}: the manifest of ${formatFence(task)} ${problem}`);
  if (manifest.vm !== task.vm || manifest.epoch !== task.epoch || manifest.sequence !== task.sequence) {
    throw refused(`says it is of ${manifest.vm}, ${formatFence(manifest)}`);
  }
  const disks = (some: readonly { name: string; size: number }[]) =>
    some
      .map(({ name, size }) => `${name} of ${size} bytes`)
      .sort()
      .join(', ');
  if (disks(manifest.disks) !== disks(description.disks)) {
    throw refused(`is of ${disks(manifest.disks)}, the replica of ${disks(description.disks)}`);
  }
  for (const { name, lastWrite } of manifest.disks) {
    const before = last?.disks.find((disk) => disk.name === name)?.lastWrite ?? 0;
    if (lastWrite >= before) continue;
    throw new CatalogueError(
      'OutOfSequence',
      `${task.vm}/${name}: ${formatFence(task)} ends with write ${lastWrite}, the replica is at write ${before}`,
    );
  }
}

interface ProvenChanges {
  readonly disk: string;
  readonly reader: ChangeFileReader;
}

/** Holds every change file of a cycle against its digest. @throws CatalogueError LogBroken */
export async function proveChanges(
  store: ReplicaStore,
  manifest: CycleManifest,
  advance: (bytes: number) => void = () => undefined,
  signal?: AbortSignal,
): Promise<ProvenChanges[]> {
  const { vm, epoch, sequence } = manifest;
  const changed = manifest.disks.filter(({ length }) => length > 0);
  const prove = async ({ name: disk, size: diskSize, length, digest }: CycleManifest['disks'][number]) => {
    const name = vaultPaths.changes(vm, epoch, sequence, disk);
    const found = await digestOfObject(store, name, length, (bytes) => {
      signal?.throwIfAborted();
      advance(bytes);
    });
    if (found !== digest) {
      const problem =
        found === undefined ? `missing, or shorter than ${length} bytes` : `of digest ${found}, not ${digest}`;
      throw new CatalogueError('LogBroken', `${name} is ${problem}`);
    }
    return { disk, reader: await ChangeFileReader.open(store, name, { vm, disk, epoch, sequence, diskSize }, length) };
  };
  const proven: ProvenChanges[] = [];
  for await (const one of readAhead(changed, DISKS_IN_FLIGHT, prove)) proven.push(one);
  return proven;
}
