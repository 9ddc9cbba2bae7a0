/** Changes of catalogs under a fence, and the disposal of contents that no catalog names. */
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
   * As `change`, for a catalog that will name new content. If the change is refused, no catalog will ever name the
   * content, so it is deleted. If it fails in another way, a catalog may name it although the answer was lost, so it
   * stays, at worst as a leftover.
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

  /** @throws CatalogueError StaleEpoch if a newer fence is already known; the change itself checks again. */
  async refuse(name: string, fence: WriteFence): Promise<void> {
    refuseOlder(name, fence, (await this.catalogs.of(scopeOf(name, fence)).recent()).fence);
  }

  /**
   * Deletes content that is no longer visible, unless the catalog names it, whatever the caller believes. Content that
   * cannot be deleted now is a leftover.
   */
  async discard(name: string, fence: WriteFence, content: ContentBlob): Promise<void> {
    // The catalog as the change has left or found it: a content is never named for the first time after that.
    if (new NamedContents(await this.catalogs.of(scopeOf(name, fence)).recent()).has(content)) return;
    await this.container.delete(content.blob, content.snapshot).catch(() => undefined);
  }
}
