/**
 * Receives a change set at the primary site: verifies it, writes it to the failback layers, and reads it back. Change
 * sets are received in order; the layers remember the newest one that they hold.
 */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, type Fence } from '../domain/fence.js';
import { splitRange } from '../domain/ranges.js';
import { vaultPaths, type CycleManifest } from '../domain/vault.js';
import { isZero } from '../disks/zeroes.js';
import { BufferPool } from '../disks/buffer-pool.js';
import type { FailbackDisk, FailbackTarget } from '../ports/failback-target.js';
import type { DiskWrite } from '../ports/replica-disks.js';
import type { RecordStore } from '../ports/replica-store.js';
import { proveChanges } from './apply.js';
import { BATCH_BYTES } from './change-file-reader.js';
import { progressMeter, type StepOptions } from './progress.js';
import { readManifest } from './ship.js';

/** Longest range that is cleared or read back in one request, bytes. */
const LONGEST_REQUEST = 4 * 1024 * 1024;
const LONGEST_CLEAR = 1024 * 1024 * 1024;

/**
 * May be aborted or die at any point, and be run again: the layers then get the same bytes again.
 * @throws CatalogueError LogBroken if the change set does not exist or is damaged; WriteFailed if the layers do not
 * hold what was written; the errors of `FailbackTarget`.
 */
export async function receiveChanges(
  store: RecordStore,
  target: FailbackTarget,
  task: Fence & { readonly vm: string },
  options: StepOptions = {},
): Promise<void> {
  const { vm } = task;
  const manifest = await readManifest(store, vm, task);
  if (!manifest) {
    throw new CatalogueError('LogBroken', `${vaultPaths.manifest(vm, task.epoch, task.sequence)} no longer exists`);
  }
  checkIdentity(manifest, task);
  // Every file is read twice: to verify it, and to write it.
  const advance = progressMeter(
    manifest.disks.reduce((sum, { length }) => sum + length * 2, 0),
    options,
  );
  const changes = await proveChanges(store, manifest, advance, options.signal);
  const layers = await target.openFailback(vm, task);
  if (!layers) return;
  try {
    for (const { name, size } of manifest.disks) {
      const found = layers.disk(name).size;
      if (found === size) continue;
      throw new CatalogueError('InvalidVmState', `${vm}: disk ${name} has ${found} bytes, its replica ${size}`);
    }
    const buffers = new BufferPool(BATCH_BYTES);
    for (const { disk, reader } of changes) {
      const layer = layers.disk(disk);
      for await (const batch of reader.batches()) {
        options.signal?.throwIfAborted();
        const [content, readBack] = [buffers.take(), buffers.take()];
        const writes = await reader.load(batch, content);
        for (const write of writes) await put(layer, write);
        for (const write of writes) await proveWritten(`${vm}/${disk}`, layer, write, readBack);
        buffers.give(content);
        buffers.give(readBack);
        advance(batch.content.length);
      }
    }
    await layers.complete();
  } finally {
    await layers.close();
  }
}

function checkIdentity(manifest: CycleManifest, task: Fence & { readonly vm: string }): void {
  const { vm, epoch, sequence } = manifest;
  if (vm === task.vm && epoch === task.epoch && sequence === task.sequence) return;
  throw new CatalogueError(
    'LogBroken',
    `the manifest of ${task.vm}, ${formatFence(task)}, is of ${vm}, ${formatFence(manifest)}`,
  );
}

async function put(layer: FailbackDisk, write: DiskWrite): Promise<void> {
  if ('data' in write) {
    await layer.write(write.data, write.offset);
    return;
  }
  const range = { offset: write.offset, length: write.clear };
  for (const piece of splitRange(range, LONGEST_CLEAR)) await layer.writeZeroes(piece);
}

/** @param buffer at least as long as the data. @throws CatalogueError WriteFailed */
async function proveWritten(what: string, layer: FailbackDisk, write: DiskWrite, buffer: Buffer): Promise<void> {
  const { offset } = write;
  const length = 'data' in write ? write.data.length : write.clear;
  for (const piece of splitRange({ offset, length }, LONGEST_REQUEST)) {
    const found = buffer.subarray(0, piece.length);
    await layer.read(found, piece.offset);
    const from = piece.offset - offset;
    const isSame = 'data' in write ? found.equals(write.data.subarray(from, from + piece.length)) : isZero(found);
    if (isSame) continue;
    throw new CatalogueError('WriteFailed', `${what}: ${piece.length} bytes at ${piece.offset} read back differently`);
  }
}
