/**
 * Blobs and snapshots that no catalog names: uploads of processes that died, and content that could not be deleted.
 * They are invisible but cost money. They are removed in the background when an epoch begins.
 */
import { NamedContents } from './catalog-format.js';
import type { Container, ListedBlob } from './container.js';
import type { ScopeCatalog } from './scope-catalog.js';

/** Milliseconds, by the service's clock. Younger ones may be about to be named. */
const OLD = 24 * 60 * 60_000;

export class Leftovers {
  #removing: Promise<void> = Promise.resolve();

  constructor(
    private readonly container: Container,
    private readonly old = OLD,
  ) {}

  /** Begins to remove the leftovers of a scope. Failures are repeated with the next epoch. */
  remove(catalog: ScopeCatalog): void {
    this.#removing = this.#removing.then(() => this.#remove(catalog)).catch(() => undefined);
  }

  /** Resolves when no removal is in progress. */
  ended(): Promise<void> {
    return this.#removing;
  }

  async #remove(catalog: ScopeCatalog): Promise<void> {
    const listed: ListedBlob[] = [];
    for await (const blob of this.container.list(`${catalog.scope}/`, { snapshots: true })) {
      if (blob.ageMs > this.old) listed.push(blob);
    }
    // Read after the listing, so that blobs named meanwhile stay.
    const named = new NamedContents(await catalog.read());
    for (const { name: blob, snapshot } of listed) {
      if (!named.has({ blob, snapshot })) await this.container.delete(blob, snapshot);
    }
  }
}
