/**
 * Names of objects and page blobs, and where they lie. A name is a relative path: nothing in it may lead out of the
 * store, or to the store's own files, which all begin with a dot or end with `.undo`.
 */
import path from 'node:path';
import { CatalogueError } from '../../domain/errors.js';

export const MARKER = 'farshore-store.json';
const JOURNALS = '.undo';
/** Longest part between slashes, bytes: leaves room for what is added to it in the names of lock files. */
const MAX_PART = 200;
const MAX_NAME = 1024;

/** @throws CatalogueError InvalidReplicaState when it cannot be the name of anything in the store. */
export function checkName(name: string): string {
  const fault = nameFault(name);
  if (fault !== undefined) throw new CatalogueError('InvalidReplicaState', `name ${JSON.stringify(name)}: ${fault}`);
  return name;
}

function nameFault(name: string): string | undefined {
  if (name.length === 0) return 'it is empty';
  if (name.length > MAX_NAME) return `it is longer than ${MAX_NAME} characters`;
  if (name === MARKER) return 'it belongs to the store';
  for (const part of name.split('/')) {
    if (part.length === 0) return 'a part of it is empty';
    if (part.startsWith('.')) return 'a part of it begins with a dot';
    if (part.endsWith(JOURNALS)) return `a part of it ends with ${JOURNALS}`;
    // oxlint-disable-next-line no-control-regex
    if (/[\u0000-\u001f\u007f\\]/.test(part)) return 'a part of it holds a backslash or a control character';
    if (Buffer.byteLength(part) > MAX_PART) return `a part of it is longer than ${MAX_PART} bytes`;
  }
  return undefined;
}

/** A scope as a folder name: with or without the slash at its end it is the same scope. */
export const checkScope = (scope: string): string => checkName(scope.endsWith('/') ? scope.slice(0, -1) : scope);

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
