/**
 * The two files of an overlay. `<path>`: sparse, as large as the disk, each block at its own offset.
 * `<path>.bitmap`: a header of 4096 bytes, then one bit per block. Numbers are little-endian:
 *
 *     0  magic "FSOVRLAY"    8  version u32 = 1    12  block size u32    16  size of the disk u64
 *    24  crc32 of the bytes before u32             28  state: 1 overlay, 2 merging
 *
 * The bitmap file is renamed into place when everything else is durable; its presence means that the overlay exists. The
 * state is one byte outside the checksum, so that changing it cannot be torn.
 */
import { constants } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { CatalogueError } from '../domain/errors.js';
import { BlockBitmap } from './block-bitmap.js';
import { diskError } from './disk-errors.js';
import { readAt, writeAt } from './positional-io.js';
import { RawDisk, openDiskFile } from './raw.js';
import { syncFolder } from './sync-folder.js';

const HEADER_BYTES = 4096;
const MAGIC = 'FSOVRLAY';
const VERSION = 1;
const STATE_AT = 28;
const STATES = { overlay: 1, merging: 2 } as const;

export type OverlayState = keyof typeof STATES;

export interface OverlayFiles {
  readonly data: RawDisk;
  readonly bitmap: BlockBitmap;
  readonly blockSize: number;
  readonly state: OverlayState;
}

const bitmapPath = (path: string): string => `${path}.bitmap`;

/** Creates an overlay without any blocks; an existing one is opened instead. */
export async function createOverlayFiles(path: string, size: number, blockSize: number): Promise<OverlayFiles> {
  try {
    if (!(await fileExists(bitmapPath(path)))) {
      await createDataFile(path, size);
      await createBitmapFile(path, size, blockSize);
    }
  } catch (error) {
    throw diskError(error, path, 'write');
  }
  return openOverlayFiles(path, size);
}

/**
 * @throws CatalogueError DiskMissing if there is no such overlay, BrokenChain if it is damaged or belongs to another
 * disk.
 */
export async function openOverlayFiles(
  path: string,
  size: number,
  { readOnly = false }: { readOnly?: boolean } = {},
): Promise<OverlayFiles> {
  const bitmapFile = await openDiskFile(bitmapPath(path), false);
  let bitmap: BlockBitmap | undefined;
  try {
    const { blockSize, state } = await readHeader(bitmapFile, path, size);
    const options = { headerBytes: HEADER_BYTES, readOnly };
    bitmap = await BlockBitmap.open(bitmapPath(path), Math.ceil(size / blockSize), options);
    const wanted = HEADER_BYTES + Math.ceil(bitmap.blocks / 8);
    const { size: found } = await bitmapFile.stat();
    if (found !== wanted)
      throw new CatalogueError('BrokenChain', `${bitmapPath(path)}: ${found} bytes instead of ${wanted}`);
    // An interrupted removal: the data file is deleted first, when it contains no blocks any more.
    if (!readOnly && !(await fileExists(path)) && (await bitmap.count()) === 0) await createDataFile(path, size);
    const data = await RawDisk.open(path, { readOnly });
    if (data.size === size) return { data, bitmap, blockSize, state };
    await data.close();
    throw new CatalogueError('BrokenChain', `${path}: ${data.size} bytes instead of the ${size} of its base`);
  } catch (error) {
    await bitmap?.close();
    throw diskError(error, path, 'read');
  } finally {
    await bitmapFile.close();
  }
}

/** Resolves when the state is on stable storage. */
export async function storeOverlayState(bitmap: BlockBitmap, state: OverlayState): Promise<void> {
  await writeAt(bitmap.file, Buffer.from([STATES[state]]), STATE_AT);
  await bitmap.sync();
}

/** For an overlay that contains no blocks any more. Repeatable. */
export async function removeOverlayFiles(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
    await rm(bitmapPath(path), { force: true });
    await syncFolder(dirname(path));
  } catch (error) {
    throw diskError(error, path, 'write');
  }
}

async function createDataFile(path: string, size: number): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const { blocks } = await file.stat();
    if (blocks > 0) throw new CatalogueError('BrokenChain', `${path}: holds data, and its bitmap is missing`);
    await file.truncate(size);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncFolder(dirname(path));
}

async function createBitmapFile(path: string, size: number, blockSize: number): Promise<void> {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, 'latin1');
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(blockSize, 12);
  header.writeBigUInt64LE(BigInt(size), 16);
  header.writeUInt32LE(crc32(header.subarray(0, 24)), 24);
  header[STATE_AT] = STATES.overlay;
  const unfinished = `${bitmapPath(path)}.new`;
  const file = await open(unfinished, 'w', 0o600);
  try {
    await writeAt(file, header, 0);
    await file.truncate(HEADER_BYTES + Math.ceil(Math.ceil(size / blockSize) / 8));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished, bitmapPath(path));
  await syncFolder(dirname(path));
}

async function readHeader(
  file: FileHandle,
  path: string,
  size: number,
): Promise<{ blockSize: number; state: OverlayState }> {
  const broken = (problem: string) => new CatalogueError('BrokenChain', `${bitmapPath(path)}: ${problem}`);
  const header = Buffer.alloc(HEADER_BYTES);
  if ((await readAt(file, header, 0)) < HEADER_BYTES) throw broken('the header is cut off');
  if (header.toString('latin1', 0, 8) !== MAGIC || header.readUInt32LE(8) !== VERSION)
    throw broken('no overlay header');
  if (header.readUInt32LE(24) !== crc32(header.subarray(0, 24))) throw broken('the header is damaged');
  const stored = Number(header.readBigUInt64LE(16));
  if (stored !== size) throw broken(`made for a disk of ${stored} bytes, its base has ${size}`);
  const state = (Object.keys(STATES) as OverlayState[]).find((name) => STATES[name] === header[STATE_AT]);
  if (!state) throw broken(`unknown state ${header[STATE_AT]}`);
  return { blockSize: header.readUInt32LE(12), state };
}

async function fileExists(path: string): Promise<boolean> {
  try {
    await (await open(path, 'r')).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
