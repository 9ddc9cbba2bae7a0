/**
 * Blobs and snapshots that no catalog names: uploads of processes that died, and what could not be deleted. Nobody sees
 * them; they cost money. They are looked for when an epoch begins, beside everything else.
 */
import { NamedContents } from './catalog-format.js';
import type { Container, ListedBlob } from './container.js';
import type { ScopeCatalog } from './scope-catalog.js';

/** Milliseconds, by the service's clock. What is younger may be about to be named. */
const OLD = 24 * 60 * 60_000;

export class Leftovers {
  #removing: Promise<void> = Promise.resolve();

  constructor(
    private readonly container: Container,
    private readonly old = OLD,
  ) {}

  /** Begins to remove those of a scope. What fails is tried again with the next epoch. */
  remove(catalog: ScopeCatalog): void {
    this.#removing = this.#removing.then(() => this.#remove(catalog)).catch(() => undefined);
  }

  /** Resolves when nothing is being removed. */
  ended(): Promise<void> {
    return this.#removing;
  }

  async #remove(catalog: ScopeCatalog): Promise<void> {
    const listed: ListedBlob[] = [];
    for await (const blob of this.container.list(`${catalog.scope}/`, { snapshots: true })) {
      if (blob.ageMs > this.old) listed.push(blob);
    }
    // Read after they were listed: what was named meanwhile stays.
    const named = new NamedContents(await catalog.read());
    for (const { name: blob, snapshot } of listed) {
      if (!named.has({ blob, snapshot })) await this.container.delete(blob, snapshot);
    }
  }
}
