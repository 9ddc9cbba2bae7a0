/**
 * Names of objects and page blobs: relative paths with slashes. A name must not lead out of the store, or to the
 * store's own files, whose parts begin with a dot or end with `.undo`.
 */
import { CatalogueError } from '../domain/errors.js';

/** The object that distinguishes a store from an empty folder or container. */
export const MARKER = 'farshore-store.json';
/** In a folder store, the suffix of the folder with a page blob's journals. */
export const JOURNALS = '.undo';
/** Longest part between slashes, bytes: leaves room for suffixes in the names of lock files. */
const MAX_PART = 200;
const MAX_NAME = 1024;

/** @throws CatalogueError InvalidReplicaState if it cannot be a name in the store. */
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

/** A scope as a folder name, with or without the slash at its end. */
export const checkScope = (scope: string): string => checkName(scope.endsWith('/') ? scope.slice(0, -1) : scope);
