/**
 * The locations of objects and page blobs in the folder of a store. The store's own files begin with a dot or end with
 * `.undo`.
 */
import path from 'node:path';
import { JOURNALS, MARKER } from '../blob-names.js';

/** Whether this entry of a folder belongs to the store itself: a lock, a fence, a blob's journals. */
export const isInternal = (entry: string): boolean => entry.startsWith('.') || entry.endsWith(JOURNALS);

/** Whether this entry of the temporary folder is a work folder, as opposed to a temporary file. */
export const isWorkFolder = (entry: string): boolean => /\.\d+$/.test(entry);

/** The store's folder, and the locations in it. */
export class StoreLayout {
  constructor(readonly root: string) {}

  /** File of an object or a page blob. */
  file = (name: string): string => path.join(this.root, ...name.split('/'));
  marker = (): string => path.join(this.root, MARKER);
  reserve = (): string => path.join(this.root, '.reserve');
  /** Files are written here first, or in a folder in here, then renamed to their place. */
  temporaryFolder = (): string => path.join(this.root, '.tmp');
  /** Two copies, because a single damaged one would stop all writes below the scope. */
  fences = (scope: string): readonly string[] => [this.fence(scope), path.join(this.file(scope), '.fence-second')];
  fence = (scope: string): string => path.join(this.file(scope), '.fence');
  /** @param generation rises when a process that does not release the lock is shut out. */
  scopeLock = (scope: string, generation: number): string =>
    path.join(this.file(scope), generation === 0 ? '.scope' : `.scope${generation}`);
  /** Writers under a scope's fence prepare and remove files here: every name they change goes through this folder. */
  workFolder = (scope: string, generation: number): string =>
    path.join(this.temporaryFolder(), `${encodeURIComponent(scope)}.${generation}`);
  /** The journals of a page blob are beside it; an object has none, which distinguishes the two. */
  journals = (blob: string): string => this.file(blob) + JOURNALS;
  /** Outlives the blob: two processes must use the same lock file while one of them deletes the blob. */
  blobLock = (blob: string, generation: number): string => {
    const file = this.file(blob);
    return path.join(path.dirname(file), `.blob${generation === 0 ? '' : generation}-${path.basename(file)}`);
  };
}
