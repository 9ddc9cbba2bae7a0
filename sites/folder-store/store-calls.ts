/**
 * Makes calls to a folder store: only while the original store is there, under its fence, with errors of the catalogue.
 */
import { CatalogueError } from '../../domain/errors.js';
import { stat } from 'node:fs/promises';
import { checkName } from '../blob-names.js';
import type { WriteFence } from '../../ports/objects.js';
import type { ScopeAccess } from './access.js';
import type { ScopeFences } from './fence-file.js';
import type { DurableFiles } from './files.js';
import { errnoOf, storeError, unlessMissing } from './folder-errors.js';
import type { StoreLayout } from './names.js';
import type { SpaceReserve } from './reserve.js';
import type { StoreMarker } from './store-marker.js';

export class StoreCalls {
  #closed = false;

  constructor(
    readonly layout: StoreLayout,
    readonly files: DurableFiles,
    readonly marker: StoreMarker,
    readonly fences: ScopeFences,
    readonly reserve: SpaceReserve,
  ) {}

  close(): void {
    this.#closed = true;
  }

  async do<T>(doing: string, work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error(`${doing}: the store is closed`);
    try {
      await this.marker.check();
      return await work();
    } catch (error) {
      // If the store disappears meanwhile, everything seems to be missing.
      if (errnoOf(error) === 'ENOENT') await this.marker.check();
      throw storeError(error, doing);
    }
  }

  /** @param size small calls, and those that make room, are performed even if the store is full. */
  async fenced<T>(
    doing: string,
    name: string,
    fence: WriteFence,
    work: (access: ScopeAccess) => Promise<T>,
    size: 'small' | 'large' = 'small',
  ): Promise<T> {
    const write = async () => await this.fences.write(checkName(name), fence, work);
    return await this.do(doing, size === 'small' ? async () => await this.reserve.spend('record', write) : write);
  }

  async refusePageBlob(name: string): Promise<void> {
    if (!(await unlessMissing(stat(this.layout.journals(name)), undefined))) return;
    throw new CatalogueError('InvalidReplicaState', `${name} is a page blob, not an object`);
  }
}
