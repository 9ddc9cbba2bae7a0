/** Where objects and page blobs lie in the folder of a store. Its own files begin with a dot or end with `.undo`. */
import path from 'node:path';
import { JOURNALS, MARKER } from '../blob-names.js';

/** Whether this entry of a folder is the store's own: a lock, a fence, a blob's journals. */
export const isInternal = (entry: string): boolean => entry.startsWith('.') || entry.endsWith(JOURNALS);

/** The store's folder, and where things lie in it. */
export class StoreLayout {
  constructor(readonly root: string) {}

  /** File of an object or a page blob. */
  file = (name: string): string => path.join(this.root, ...name.split('/'));
  marker = (): string => path.join(this.root, MARKER);
  /** Everything is written in here first, then renamed to where it belongs. */
  temporaryFolder = (): string => path.join(this.root, '.tmp');
  fence = (scope: string): string => path.join(this.file(scope), '.fence');
  scopeLock = (scope: string): string => path.join(this.file(scope), '.scope');
  /** Its journals lie beside a page blob; an object has none, which is how the two are told apart. */
  journals = (blob: string): string => this.file(blob) + JOURNALS;
  /** Outlives the blob: two processes must meet on the same file while one of them deletes the blob. */
  blobLock = (blob: string): string => {
    const file = this.file(blob);
    return path.join(path.dirname(file), `.blob-${path.basename(file)}`);
  };
}
