/** The catalogs of a store, and the catalog to which a name belongs. Scopes are not nested. */
import { CATALOG_FOLDER, scopeOfCatalog, type Catalog } from './catalog-format.js';
import type { Container } from './container.js';
import { ScopeCatalog } from './scope-catalog.js';

/** How many times an entry that has just been replaced is looked up again. */
export const LOOKUPS = 5;

export class Catalogs {
  readonly #open = new Map<string, ScopeCatalog>();

  constructor(
    private readonly container: Container,
    /** Called with the size of each catalog that is sent, bytes. */
    private readonly onSent: (bytes: number) => void = () => undefined,
  ) {}

  of(scope: string): ScopeCatalog {
    let catalog = this.#open.get(scope);
    if (!catalog) this.#open.set(scope, (catalog = new ScopeCatalog(scope, this.container, this.onSent)));
    return catalog;
  }

  /** The catalog of the scope that contains a name; undefined if nothing was ever written there. */
  containing = async (name: string): Promise<Catalog | undefined> => await (await this.#ofName(name))?.read();

  /** As `containing`, but as last seen. */
  recentlyContaining = async (name: string): Promise<Catalog | undefined> => await (await this.#ofName(name))?.recent();

  /** The catalogs that may contain names with this prefix. */
  async below(prefix: string): Promise<Catalog[]> {
    const inside = prefix.includes('/') ? await this.#ofName(prefix) : undefined;
    if (inside) return [await inside.read()];
    const found: Catalog[] = [];
    for await (const { name } of this.container.list(`${CATALOG_FOLDER}${prefix}`, { snapshots: false })) {
      found.push(await this.of(scopeOfCatalog(name)).read());
    }
    return found;
  }

  async #ofName(name: string): Promise<ScopeCatalog | undefined> {
    const parts = name.split('/').slice(0, -1);
    const scopes = parts.map((_, index) => parts.slice(0, index + 1).join('/'));
    for (const scope of scopes) {
      const known = this.#open.get(scope);
      if (known && (await known.exists())) return known;
    }
    for (const scope of scopes) if (await this.of(scope).exists()) return this.of(scope);
    return undefined;
  }
}
