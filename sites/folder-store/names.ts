/** Where objects and page blobs lie in the folder of a store. Its own files begin with a dot or end with `.undo`. */
import path from 'node:path';
import { JOURNALS, MARKER } from '../blob-names.js';

/** Whether this entry of a folder is the store's own: a lock, a fence, a blob's journals. */
export const isInternal = (entry: string): boolean => entry.startsWith('.') || entry.endsWith(JOURNALS);

/** Whether this entry of the folder for temporary files is a work folder, rather than a temporary file itself. */
export const isWorkFolder = (entry: string): boolean => /\.\d+$/.test(entry);

/** The store's folder, and where things lie in it. */
export class StoreLayout {
  constructor(readonly root: string) {}

  /** File of an object or a page blob. */
  file = (name: string): string => path.join(this.root, ...name.split('/'));
  marker = (): string => path.join(this.root, MARKER);
  reserve = (): string => path.join(this.root, '.reserve');
  /** Everything is written in here first, or in a folder in here, then renamed to where it belongs. */
  temporaryFolder = (): string => path.join(this.root, '.tmp');
  /** Kept twice: one that is damaged would stop all that is written below the scope. */
  fences = (scope: string): readonly string[] => [this.fence(scope), path.join(this.file(scope), '.fence-second')];
  fence = (scope: string): string => path.join(this.file(scope), '.fence');
  /** @param generation rises when a process that does not let go is shut out. */
  scopeLock = (scope: string, generation: number): string =>
    path.join(this.file(scope), generation === 0 ? '.scope' : `.scope${generation}`);
  /** What writers under a scope's fence prepare, and what they put away: every name they change goes through here. */
  workFolder = (scope: string, generation: number): string =>
    path.join(this.temporaryFolder(), `${encodeURIComponent(scope)}.${generation}`);
  /** Its journals lie beside a page blob; an object has none, which is how the two are told apart. */
  journals = (blob: string): string => this.file(blob) + JOURNALS;
  /** Outlives the blob: two processes must meet on the same file while one of them deletes the blob. */
  blobLock = (blob: string, generation: number): string => {
    const file = this.file(blob);
    return path.join(path.dirname(file), `.blob${generation === 0 ? '' : generation}-${path.basename(file)}`);
  };
}
