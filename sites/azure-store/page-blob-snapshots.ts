/**
 * Snapshots of page blobs. A snapshot exists when the catalog names it: one taken by a fenced writer is a leftover. Ids
 * are our own, because the service names a snapshot by its time and may use the same time twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { checkName } from '../blob-names.js';
import type { WriteFence } from '../../ports/objects.js';
import type { Catalog } from './catalog-format.js';
import { LOOKUPS, type Catalogs } from './catalogs.js';
import type { Container } from './container.js';
import type { FencedChanges } from './fenced-changes.js';
import { pageBlobOf, type BlobPages } from './page-blobs.js';
import { invalid, missingContent } from './store-faults.js';

/** Milliseconds, until the service's clock shows another time. */
const ANOTHER_TIME = 2;

export class Snapshots {
  constructor(
    private readonly container: Container,
    private readonly catalogs: Catalogs,
    private readonly changes: FencedChanges,
    private readonly blobs: BlobPages,
  ) {}

  async take(name: string, fence: WriteFence): Promise<string> {
    await this.changes.refuse(name, fence);
    for (let lookup = 0; lookup < LOOKUPS; lookup += 1) {
      const { blob } = await this.blobs.entry(name, { mayBeOld: lookup === 0 });
      const snapshot = await this.container.snapshot(blob);
      if (snapshot === undefined) continue;
      const id = await this.changes.name(name, fence, { blob, snapshot }, (catalog) =>
        addSnapshot(catalog, name, blob, snapshot),
      );
      if (id !== undefined) return id;
      await sleep(ANOTHER_TIME);
    }
    throw missingContent(name);
  }

  async list(name: string): Promise<string[]> {
    const entry = (await this.catalogs.containing(checkName(name)))?.pageBlobs.get(name);
    return entry?.snapshots.map(({ id }) => id) ?? [];
  }

  async delete(name: string, snapshot: string, fence: WriteFence): Promise<void> {
    const gone = await this.changes.change(name, fence, (catalog) => {
      const entry = catalog.pageBlobs.get(name);
      const found = entry?.snapshots.find(({ id }) => id === snapshot);
      if (!entry || !found) return undefined;
      const snapshots = entry.snapshots.filter((other) => other !== found);
      catalog.pageBlobs.set(name, { ...entry, snapshots });
      return { blob: entry.blob, snapshot: found.time };
    });
    if (gone) await this.changes.discard(name, fence, gone);
  }
}

/** @returns its id; undefined if an earlier snapshot has this time. */
function addSnapshot(catalog: Catalog, name: string, blob: string, time: string): string | undefined {
  const entry = pageBlobOf(catalog, name);
  if (entry.blob !== blob) throw invalid(name, 'it was replaced while a snapshot was taken');
  if (entry.snapshots.some((taken) => taken.time === time)) return undefined;
  const id = `${String(entry.taken + 1).padStart(10, '0')}-${incarnationOf(blob)}`;
  const snapshots = [...entry.snapshots, { id, time, size: entry.size }];
  catalog.pageBlobs.set(name, { ...entry, taken: entry.taken + 1, snapshots });
  return id;
}

/** Distinguishes a blob from others of the same name, so that no id is used twice. */
const incarnationOf = (blob: string): string => /~([0-9a-f]+)/.exec(blob)?.[1] ?? '';
