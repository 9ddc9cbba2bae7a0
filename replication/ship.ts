/**
 * Sends one cycle to the replica store: a change file for each disk that changed, read back once it is there, then the
 * manifest, by which the cycle begins to exist. The sealed logs can go as soon as the manifest is durable.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence, type Fence } from '../domain/fence.js';
import { cycleManifestSchema, vaultPaths, type CycleManifest } from '../domain/vault.js';
import type { ChangeSet, Cut, CutDisk, DiskChanges, ReplicaStore, WriteFence } from '../sites/ports.js';
import { digestOfObject } from './change-file-reader.js';
import { ChangeFileWriter } from './change-file-writer.js';
import { progressMeter, type StepOptions } from './progress.js';
import { readAhead } from './read-ahead.js';
import { vmFence } from './replica-state.js';
import { encodeRecord, readRecord } from './vault-record.js';

const DISKS_IN_FLIGHT = 4;

type ManifestDisk = CycleManifest['disks'][number];

export interface ShipOptions extends StepOptions {
  /** Names that the recovery point of this cycle gets. */
  readonly tags?: readonly string[] | undefined;
}

/**
 * Can be aborted or die anywhere and be run again. Once the manifest is there it is the truth, and is answered without
 * anything being sent: the logs may be gone by then.
 * @param fence the cut's epoch and sequence.
 * @throws CatalogueError OutOfSequence when the store has another cycle under this number, LogBroken when the change
 * set is not of this cut, UploadDamaged when what was read back is not what was sent (run it again), StaleEpoch.
 */
export async function shipCycle(
  store: ReplicaStore,
  changeSet: ChangeSet,
  cut: Cut,
  fence: Fence,
  options: ShipOptions = {},
): Promise<CycleManifest> {
  if (compareFences(fence, cut) !== 0) {
    throw new CatalogueError(
      'OutOfSequence',
      `${cut.vm}: the cut is of ${formatFence(cut)}, to be sent as ${formatFence(fence)}`,
    );
  }
  const shipped = await shippedManifest(store, cut);
  if (shipped) return shipped;

  const uploads = matchDisks(changeSet, cut).map(([disk, changes]) => new DiskUpload(store, cut, disk, changes));
  // Every byte is sent and read back.
  const advance = progressMeter(
    uploads.reduce((sum, upload) => sum + upload.length * 2, 0),
    options,
  );
  const disks: ManifestDisk[] = [];
  for await (const disk of readAhead(uploads, DISKS_IN_FLIGHT, (upload) => upload.run(advance, options.signal))) {
    disks.push(disk);
  }

  const { vm, epoch, sequence, sealedAt, final, appConsistent, appConsistentFailure } = cut;
  const { tags = [] } = options;
  const manifest: CycleManifest = {
    ...{ vm, epoch, sequence, sealedAt, final },
    ...(appConsistent !== undefined && { appConsistent }),
    ...(appConsistentFailure && { appConsistentFailure }),
    ...(tags.length > 0 && { tags: [...tags] }),
    disks,
  };
  options.signal?.throwIfAborted();
  const data = encodeRecord(cycleManifestSchema, manifest);
  if (await store.putObjectIfAbsent(vaultPaths.manifest(vm, epoch, sequence), data, vmFence(vm, fence)))
    return manifest;
  const other = await shippedManifest(store, cut);
  if (other) return other;
  throw new CatalogueError('InvalidReplicaState', `${vm}: the manifest of ${formatFence(cut)} came and went`);
}

/** The manifest of a cycle; undefined while the cycle does not exist. */
export const readManifest = (store: ReplicaStore, vm: string, cycle: Fence): Promise<CycleManifest | undefined> =>
  readRecord(store, vaultPaths.manifest(vm, cycle.epoch, cycle.sequence), cycleManifestSchema);

/** @throws CatalogueError OutOfSequence when there is a manifest, but of another cut. */
async function shippedManifest(store: ReplicaStore, cut: Cut): Promise<CycleManifest | undefined> {
  const manifest = await readManifest(store, cut.vm, cut);
  if (!manifest) return undefined;
  const there = identify(manifest, manifest.disks);
  const wanted = identify(cut, cut.disks);
  if (there === wanted) return manifest;
  throw new CatalogueError(
    'OutOfSequence',
    `${vaultPaths.manifest(cut.vm, cut.epoch, cut.sequence)} is of another cut: ${there}, not ${wanted}`,
  );
}

const identify = (
  cycle: Pick<Cut, 'vm' | 'epoch' | 'sequence' | 'sealedAt' | 'final'>,
  disks: readonly CutDisk[],
): string =>
  JSON.stringify([
    [cycle.vm, cycle.epoch, cycle.sequence, cycle.sealedAt, cycle.final],
    ...disks
      .map(({ name, size, log, lastWrite }) => [name, size, log, lastWrite] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  ]);

function matchDisks(changeSet: ChangeSet, cut: Cut): [CutDisk, DiskChanges][] {
  const changes = new Map(changeSet.disks.map((disk) => [disk.name, disk]));
  const same =
    changes.size === cut.disks.length &&
    changeSet.disks.length === cut.disks.length &&
    cut.disks.every(({ name }) => changes.has(name));
  if (same) return cut.disks.map((disk) => [disk, changes.get(disk.name)!]);
  const names = (disks: readonly { name: string }[]) => disks.map(({ name }) => name).join(', ') || 'no disk';
  throw new CatalogueError(
    'LogBroken',
    `${cut.vm}: the change set holds ${names(changeSet.disks)}, the cut ${names(cut.disks)}`,
  );
}

class DiskUpload {
  /** Bytes of the change file; 0 when the disk did not change. */
  readonly length: number;
  readonly #store: ReplicaStore;
  readonly #cut: Cut;
  readonly #disk: CutDisk;
  readonly #writer: ChangeFileWriter;

  constructor(store: ReplicaStore, cut: Cut, disk: CutDisk, changes: DiskChanges) {
    const { vm, epoch, sequence } = cut;
    this.#store = store;
    this.#cut = cut;
    this.#disk = disk;
    this.#writer = new ChangeFileWriter({ vm, disk: disk.name, epoch, sequence, diskSize: disk.size }, changes);
    this.length = this.#writer.header.rows > 0 ? this.#writer.length : 0;
  }

  async run(advance: (bytes: number) => void, signal: AbortSignal | undefined): Promise<ManifestDisk> {
    const { name, size, log, lastWrite } = this.#disk;
    const { payload, rows } = this.#writer.header;
    const digest = this.length > 0 ? await this.#upload(advance, signal) : '';
    return { name, size, log, lastWrite, length: this.length, digest, dataBytes: payload, ranges: rows };
  }

  async #upload(advance: (bytes: number) => void, signal: AbortSignal | undefined): Promise<string> {
    const { vm, epoch, sequence } = this.#cut;
    const name = vaultPaths.changes(vm, epoch, sequence, this.#disk.name);
    const fence: WriteFence = vmFence(vm, this.#cut);
    await this.#store.uploadObject(name, watched(this.#writer.chunks(), advance, signal), fence);
    const sent = this.#writer.digest();
    // Once the manifest is durable the log is deleted: the file has to be proven good before.
    const arrived = await digestOfObject(this.#store, name, this.length, (bytes) => {
      signal?.throwIfAborted();
      advance(bytes);
    });
    if (arrived === sent) return sent;
    throw new CatalogueError(
      'UploadDamaged',
      `${name}: sent ${sent}, read back ${arrived ?? 'nothing of that length'}`,
    );
  }
}

async function* watched(
  chunks: AsyncIterable<Buffer>,
  advance: (bytes: number) => void,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks) {
    signal?.throwIfAborted();
    yield chunk;
    advance(chunk.length);
  }
}
