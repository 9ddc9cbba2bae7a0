/** Changes of catalogs that carry a fence, and what becomes of contents that no catalog names. */
import type { WriteFence } from '../../ports/objects.js';
import { refuseOlder, scopeOf } from '../write-fence.js';
import { NamedContents, type Catalog, type ContentBlob } from './catalog-format.js';
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
  async name<T>(name: string, fence: WriteFence, content: ContentBlob, decide: (catalog: Catalog) => T): Promise<T> {
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
      if (refusal?.error === error) await this.discard(name, fence, content);
      throw error;
    }
  }

  /** @throws CatalogueError StaleEpoch when a newer fence is known already: what counts is asked again by the change. */
  async refuse(name: string, fence: WriteFence): Promise<void> {
    refuseOlder(name, fence, (await this.catalogs.of(scopeOf(name, fence)).recent()).fence);
  }

  /**
   * Deletes content that nobody sees any more, unless the catalog names it, whatever the caller believes. What can't be
   * deleted now is a leftover.
   */
  async discard(name: string, fence: WriteFence, content: ContentBlob): Promise<void> {
    // As the change has left or found it: nothing is named for the first time after that.
    if (new NamedContents(await this.catalogs.of(scopeOf(name, fence)).recent()).has(content)) return;
    await this.container.delete(content.blob, content.snapshot).catch(() => undefined);
  }
}
