/**
 * The file that distinguishes a store from an empty mount point. Its id is remembered: if its file system is unmounted,
 * or replaced by another one while processes use it, the store is unreachable, and is never created again.
 */
import { randomUUID } from 'node:crypto';
import { readFile, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { makeFolder } from '../../disks/make-folder.js';
import { writeAt } from '../../disks/positional-io.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { CatalogueError } from '../../domain/errors.js';
import { MARKER } from '../blob-names.js';
import { errnoOf, unlessMissing } from './folder-errors.js';
import type { DurableFiles } from './files.js';
import type { StoreLayout } from './names.js';

const markerSchema = z.object({ format: z.literal('farshore replica store'), version: z.literal(1), id: z.uuid() });

export class StoreMarker {
  #inode = '';

  private constructor(
    private readonly layout: StoreLayout,
    readonly id: string,
  ) {}

  /** @throws CatalogueError StoreUnreachable */
  static async open(layout: StoreLayout, files: DurableFiles, create: boolean): Promise<StoreMarker> {
    let id = await readId(layout);
    if (id === undefined && create) {
      await makeStore(layout, files);
      id = await readId(layout);
    }
    if (id === undefined) throw unreachable(layout, 'there is no store');
    return new StoreMarker(layout, id);
  }

  /** @throws CatalogueError StoreUnreachable if the store is no longer there. */
  async check(): Promise<void> {
    const file = this.layout.marker();
    const found = await absentIfNoFolder(stat(file));
    const inode = found ? `${found.dev}:${found.ino}:${found.ctimeMs}` : undefined;
    if (inode !== undefined && inode === this.#inode) return;
    // After being mounted again, it may be on another device, but must be the same store.
    const id = await readId(this.layout);
    if (id !== this.id)
      throw unreachable(this.layout, id === undefined ? 'it no longer exists' : 'another store is there now');
    this.#inode = inode ?? '';
  }
}

async function makeStore(layout: StoreLayout, files: DurableFiles): Promise<void> {
  try {
    await makeFolder(layout.root, 0o700);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST' || code === 'ENOTDIR') throw unreachable(layout, 'it is a file');
    if (code === 'ENOENT') throw unreachable(layout, (error as Error).message);
    throw error;
  }
  const entries = await readdir(layout.root);
  // Another process was faster.
  if (entries.includes(MARKER)) return;
  const foreign = entries.filter((entry) => !entry.startsWith('.') && entry !== 'lost+found');
  if (foreign.length > 0) throw unreachable(layout, `it is not a store, and holds ${foreign.slice(0, 3).join(', ')}`);
  const marker = { format: 'farshore replica store', version: 1, id: randomUUID() } as const;
  await files.withTemporaryFile(async (file) => {
    await writeAt(file.handle, Buffer.from(`${JSON.stringify(marker)}\n`), 0);
    await file.handle.sync();
    await files.publishIfAbsent(file, layout.marker());
  });
  await syncFolder(path.dirname(layout.root));
}

async function readId(layout: StoreLayout): Promise<string | undefined> {
  const text = await absentIfNoFolder(readFile(layout.marker(), 'utf8'));
  if (text === undefined) return undefined;
  try {
    return markerSchema.parse(JSON.parse(text)).id;
  } catch (error) {
    throw new CatalogueError(
      'InvalidReplicaState',
      `${layout.marker()} belongs to a store that this version cannot read`,
      {
        cause: error,
      },
    );
  }
}

async function absentIfNoFolder<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await unlessMissing(work, undefined);
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

const unreachable = (layout: StoreLayout, problem: string) =>
  new CatalogueError('StoreUnreachable', `the folder ${layout.root}: ${problem}`);
