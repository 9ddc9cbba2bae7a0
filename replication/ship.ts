/**
 * Sends one cycle to the replica store: one or several change files for each disk that changed, each read back after it
 * has arrived, then the manifest, with which the cycle begins to exist. Once the manifest is durable, the sealed logs
 * may be deleted.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence, type Fence } from '../domain/fence.js';
import { cycleManifestSchema, vaultPaths, type CycleManifest } from '../domain/vault.js';
import type { ChangeSet, Cut, CutDisk, DiskChanges } from '../ports/change-source.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { changeFileLength, type ChangeFileIdentity } from './change-file.js';
import { digestOfObject } from './change-file-reader.js';
import { ChangeFileWriter, type WrittenFile } from './change-file-writer.js';
import {
  identityOfPart,
  manifestOfParts,
  PART_LIMITS,
  planParts,
  recordSent,
  sentBefore,
  type PartLimits,
  type PlannedPart,
  type SentPart,
} from './change-parts.js';
import { PieceCursor } from './change-pieces.js';
import { progressMeter, type StepOptions } from './progress.js';
import { readAhead } from '../concurrency/in-parallel.js';
import { fenceOfEpoch, vmFence } from './replica-state.js';
import { putKept, putKeptIfAbsent, readKept } from './kept-record.js';
import { encodeRecord } from './vault-record.js';

const DISKS_IN_FLIGHT = 4;

type ManifestDisk = CycleManifest['disks'][number];

export interface ShipOptions extends StepOptions {
  /** Names of the recovery point of this cycle. */
  readonly tags?: readonly string[] | undefined;
  /** @default PART_LIMITS */
  readonly partLimits?: PartLimits;
}

/**
 * May be aborted or die at any point, and be run again: parts of a disk that were sent are not sent again. If the
 * manifest exists, it is final and is returned without sending anything; the logs may be gone by then.
 * @param fence the cut's epoch and sequence.
 * @throws CatalogueError OutOfSequence if the store has another cycle with this number; LogBroken if the change set is
 * not of this cut; UploadDamaged if the data read back differs from the data sent (run it again); ReplicaMissing if the
 * store has no replica of this epoch; StaleEpoch.
 */
export async function shipCycle(
  store: RecordStore,
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
  const shipped = await shippedManifest(store, cut).catch(damagedManifest);
  if (shipped && shipped !== 'damaged') return shipped;
  // In another store, or an older state of this one, nobody would use the cycle, and its logs would be deleted.
  await fenceOfEpoch(store, cut.vm, cut.epoch);

  const { partLimits = PART_LIMITS } = options;
  const uploads: DiskUpload[] = [];
  for (const [disk, changes] of matchDisks(changeSet, cut)) {
    options.signal?.throwIfAborted();
    uploads.push(new DiskUpload(store, cut, disk, changes, await planParts(changes.ranges, disk.size, partLimits)));
  }
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
  const name = vaultPaths.manifest(vm, epoch, sequence);
  if (shipped === 'damaged') {
    // The logs still exist, so the manifest can be made again; for the same cut it always has the same content.
    await putKept(store.objects, name, data, vmFence(vm, fence));
    return manifest;
  }
  if (await putKeptIfAbsent(store.objects, name, data, vmFence(vm, fence))) return manifest;
  const other = await shippedManifest(store, cut);
  if (other) return other;
  throw new CatalogueError('InvalidReplicaState', `${vm}: the manifest of ${formatFence(cut)} came and went`);
}

/**
 * The manifest of a cycle; undefined while the cycle does not exist.
 * @throws CatalogueError LogBroken if the cycle exists but neither copy of its manifest is intact: its content is lost.
 */
export async function readManifest(store: RecordStore, vm: string, cycle: Fence): Promise<CycleManifest | undefined> {
  try {
    return await readKept(store.objects, vaultPaths.manifest(vm, cycle.epoch, cycle.sequence), cycleManifestSchema);
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
    throw new CatalogueError('LogBroken', error.detail, { cause: error });
  }
}

function damagedManifest(error: unknown): 'damaged' {
  if (error instanceof CatalogueError && error.code === 'LogBroken') return 'damaged';
  throw error;
}

/** @throws CatalogueError OutOfSequence if there is a manifest of another cut. */
async function shippedManifest(store: RecordStore, cut: Cut): Promise<CycleManifest | undefined> {
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
      .map(({ name, size, token, lastWrite }) => [name, size, token, lastWrite] as const)
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
  /** Size of the planned change files, bytes; 0 if the disk did not change. */
  readonly length: number;
  readonly #store: RecordStore;
  readonly #cut: Cut;
  readonly #disk: CutDisk;
  readonly #changes: DiskChanges;
  readonly #parts: readonly PlannedPart[];

  constructor(store: RecordStore, cut: Cut, disk: CutDisk, changes: DiskChanges, parts: readonly PlannedPart[]) {
    this.#store = store;
    this.#cut = cut;
    this.#disk = disk;
    this.#changes = changes;
    this.#parts = parts;
    this.length = this.#parts.reduce((sum, part) => sum + this.#lengthOf(part), 0);
  }

  async run(advance: (bytes: number) => void, signal: AbortSignal | undefined): Promise<ManifestDisk> {
    const { name, size, token, lastWrite } = this.#disk;
    const disk = { name, size, token, lastWrite };
    if (this.#parts.length === 0) return { ...disk, length: 0, digest: '', dataBytes: 0, ranges: 0 };
    const { vm, epoch, sequence } = this.#cut;
    const pieces = new PieceCursor(this.#changes.ranges);
    const watch = { advance, signal };
    try {
      if (this.#parts.length === 1) {
        const file = vaultPaths.changes(vm, epoch, sequence, name);
        return { ...disk, ...(await this.#upload(file, this.#parts[0]!, pieces, watch)) };
      }
      const sent: SentPart[] = [];
      for (const [number, part] of this.#parts.entries()) sent.push(await this.#sendPart(number, part, pieces, watch));
      return { ...disk, ...manifestOfParts(sent) };
    } finally {
      await pieces.close();
    }
  }

  /** Unless an earlier attempt has sent it; then its pieces are skipped. */
  async #sendPart(number: number, part: PlannedPart, pieces: PieceCursor, watch: Watch): Promise<SentPart> {
    const { vm, epoch, sequence } = this.#cut;
    const { name } = this.#disk;
    const identity = identityOfPart(this.#cut, this.#disk, part);
    const record = vaultPaths.sentPart(vm, epoch, sequence, name, number);
    const before = await sentBefore(this.#store, record, identity);
    if (before) {
      await pieces.skip(part.rows);
      watch.signal?.throwIfAborted();
      watch.advance(this.#lengthOf(part) * 2);
      return before;
    }
    const file = vaultPaths.changesPart(vm, epoch, sequence, name, number);
    const sent = await this.#upload(file, part, pieces, watch);
    await recordSent(this.#store, record, { ...identity, ...sent }, vmFence(vm, this.#cut));
    return sent;
  }

  async #upload(
    file: string,
    part: PlannedPart,
    pieces: PieceCursor,
    { advance, signal }: Watch,
  ): Promise<WrittenFile> {
    const { vm } = this.#cut;
    const fence: WriteFence = vmFence(vm, this.#cut);
    const writer = new ChangeFileWriter(this.#identity(), part, pieces.take(part.rows), (range, piece) =>
      this.#changes.read(range, piece),
    );
    await this.#store.objects.upload(file, watched(writer.chunks(), advance, signal), fence);
    const sent = writer.written();
    // Once the manifest is durable, the cut is released, so the file must be verified before.
    const onBytes = (bytes: number): void => {
      signal?.throwIfAborted();
      advance(bytes);
    };
    const arrived = await digestOfObject(this.#store.objects, file, sent.length, onBytes, { isReadBack: true });
    if (arrived !== sent.digest) {
      const found = arrived ?? 'nothing of that length';
      throw new CatalogueError('UploadDamaged', `${file}: sent ${sent.digest}, read back ${found}`);
    }
    // Content that turned out to be zeroes was counted as well.
    advance((this.#lengthOf(part) - sent.length) * 2);
    return sent;
  }

  #lengthOf({ rows, payload }: PlannedPart): number {
    return changeFileLength({ ...this.#identity(), rows, payload });
  }

  #identity(): ChangeFileIdentity {
    const { vm, epoch, sequence } = this.#cut;
    return { vm, disk: this.#disk.name, epoch, sequence, diskSize: this.#disk.size };
  }
}

interface Watch {
  readonly advance: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
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
