/** Changes of catalogs that carry a fence, and what becomes of contents that no catalog names. */
import type { WriteFence } from '../ports.js';
import { refuseOlder, scopeOf } from '../write-fence.js';
import type { Catalog } from './catalog-format.js';
import type { Catalogs } from './catalogs.js';
import type { Container } from './container.js';

export class FencedChanges {
  constructor(
    private readonly container: Container,
    private readonly catalogs: Catalogs,
  ) {}

  /** @param decide see `Change`. @throws CatalogueError StaleEpoch */
  async change<T>(name: string, fence: WriteFence, decide: (catalog: Catalog) => T): Promise<T> {
    return await this.catalogs.of(scopeOf(name, fence)).change((catalog) => {
      refuseOlder(name, fence, catalog.fence);
      return decide(catalog);
    });
  }

  /**
   * As `change`, of a catalog that is to name new content. When the change is refused, nobody ever will name that, and it is
   * removed. When it fails otherwise, nobody knows: the answer may be lost of a catalog that names it. Then it stays, as a
   * leftover at worst.
   */
  async name<T>(
    name: string,
    fence: WriteFence,
    content: { readonly blob: string; readonly snapshot?: string },
    decide: (catalog: Catalog) => T,
  ): Promise<T> {
    let refusal: { readonly error: unknown } | undefined;
    try {
      return await this.catalogs.of(scopeOf(name, fence)).change((catalog) => {
        refusal = undefined;
        try {
          refuseOlder(name, fence, catalog.fence);
          return decide(catalog);
        } catch (error) {
          refusal = { error };
          throw error;
        }
      });
    } catch (error) {
      if (refusal?.error === error) await this.discard(content.blob, content.snapshot);
      throw error;
    }
  }

  /** @throws CatalogueError StaleEpoch when a newer fence is known already: what counts is asked again by the change. */
  async refuse(name: string, fence: WriteFence): Promise<void> {
    refuseOlder(name, fence, (await this.catalogs.of(scopeOf(name, fence)).recent()).fence);
  }

  /** Nobody sees it any more; what can't be deleted now is a leftover. */
  async discard(blob: string, snapshot?: string): Promise<void> {
    await this.container.delete(blob, snapshot).catch(() => undefined);
  }
}
