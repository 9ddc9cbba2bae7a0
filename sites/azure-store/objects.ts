/** Objects: contents that are written once and named by the catalog of their scope. */
import { checkName } from '../blob-names.js';
import type { ListedObject, WriteFence } from '../../ports/objects.js';
import { scopeOf } from '../write-fence.js';
import { newBlobName, type Catalog } from './catalog-format.js';
import { LOOKUPS, type Catalogs } from './catalogs.js';
import type { Container } from './container.js';
import type { FencedChanges } from './fenced-changes.js';
import { invalid, missingContent } from './store-faults.js';

/**
 * Bytes: larger contents are sent in blocks, each of which passes within a request's time limit on a line of 1 Mbit/s.
 */
const ONE_PIECE = 4 * 1024 * 1024;

export class NamedObjects {
  constructor(
    private readonly container: Container,
    private readonly catalogs: Catalogs,
    private readonly changes: FencedChanges,
  ) {}

  async put(name: string, content: Buffer | AsyncIterable<Buffer>, fence: WriteFence): Promise<void> {
    await this.#publish(name, fence, content, () => true);
  }

  async putIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean> {
    await this.changes.refuse(name, fence);
    if ((await this.catalogs.of(scopeOf(name, fence)).read()).objects.has(name)) {
      await this.changes.refuse(name, fence);
      return false;
    }
    return await this.#publish(name, fence, data, (catalog) => !catalog.objects.has(name));
  }

  async get(name: string): Promise<Buffer | undefined> {
    checkName(name);
    for (let lookup = 0; lookup < LOOKUPS; lookup += 1) {
      const entry = (await this.catalogs.containing(name))?.objects.get(name);
      if (!entry) return undefined;
      const found = await this.container.get(entry.blob, { length: entry.length });
      if (found === undefined || found === 'unchanged') continue;
      if (found.data.length === entry.length) return found.data;
      throw invalid(name, `${found.data.length} bytes are there; ${entry.length} were put`);
    }
    throw missingContent(name);
  }

  async readInto(name: string, offset: number, target: Buffer): Promise<void> {
    if (!Number.isSafeInteger(offset) || offset < 0) throw new RangeError(`${name}: offset ${offset} was asked for`);
    checkName(name);
    for (let lookup = 0; lookup < LOOKUPS; lookup += 1) {
      // An object is read in parts: the known catalog is used until the blob is gone.
      const known = lookup === 0 ? (await this.catalogs.recentlyContaining(name))?.objects.get(name) : undefined;
      const entry = known ?? (await this.catalogs.containing(name))?.objects.get(name);
      if (!entry) throw invalid(name, 'there is no such object');
      if (offset + target.length > entry.length) {
        throw invalid(name, `it has ${entry.length} bytes; ${target.length} from ${offset} on were asked for`);
      }
      if (await this.container.read(entry.blob, offset, target)) return;
    }
    throw missingContent(name);
  }

  async list(prefix: string): Promise<string[]> {
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    if (folder !== '') checkName(folder.slice(0, -1));
    const found: string[] = [];
    for (const catalog of await this.catalogs.below(prefix)) {
      for (const name of catalog.objects.keys()) if (name.startsWith(prefix)) found.push(name);
    }
    return found.sort();
  }

  async listSizes(prefix: string): Promise<ListedObject[]> {
    const found: ListedObject[] = [];
    const ages = new Map<string, number>();
    for await (const { name, ageMs } of this.container.list(prefix, { snapshots: false })) ages.set(name, ageMs);
    const now = Date.now();
    for (const catalog of await this.catalogs.below(prefix)) {
      for (const [name, { blob, length }] of catalog.objects) {
        if (!name.startsWith(prefix)) continue;
        const age = ages.get(blob);
        found.push({ name, bytes: length, ...(age !== undefined && { writtenAt: new Date(now - age).toISOString() }) });
      }
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async delete(name: string, fence: WriteFence): Promise<void> {
    const gone = await this.changes.change(name, fence, (catalog) => {
      if (catalog.pageBlobs.has(name)) throw invalid(name, 'it is a page blob, not an object');
      const entry = catalog.objects.get(name);
      catalog.objects.delete(name);
      return entry;
    });
    if (gone) await this.changes.discard(name, fence, gone);
  }

  /** Uploads content invisibly, then makes the catalog name it. @returns the result of `wanted`. */
  async #publish(
    name: string,
    fence: WriteFence,
    content: Buffer | AsyncIterable<Buffer>,
    wanted: (catalog: Catalog) => boolean,
  ): Promise<boolean> {
    // An early check that avoids useless work.
    await this.changes.refuse(name, fence);
    const blob = newBlobName(name);
    const length = await this.#upload(blob, content);
    const outcome = await this.changes.name(name, fence, { blob }, (catalog) => {
      if (catalog.pageBlobs.has(name)) throw invalid(name, 'it is a page blob, not an object');
      const there = catalog.objects.get(name);
      // It was named earlier, and the answer was lost.
      if (there?.blob === blob) return { published: true };
      if (!wanted(catalog)) return { published: false, unnamed: { blob } };
      catalog.objects.set(name, { blob, length });
      return { published: true, unnamed: there };
    });
    if (outcome.unnamed) await this.changes.discard(name, fence, outcome.unnamed);
    return outcome.published;
  }

  async #upload(blob: string, content: Buffer | AsyncIterable<Buffer>): Promise<number> {
    if (!Buffer.isBuffer(content)) return await this.container.upload(blob, content);
    if (content.length > ONE_PIECE) return await this.container.upload(blob, inOneChunk(content));
    await this.container.put(blob, content);
    return content.length;
  }
}

async function* inOneChunk(data: Buffer): AsyncGenerator<Buffer, void, undefined> {
  yield data;
}
