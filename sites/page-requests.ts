/** Checks that requests to a page blob consist of whole pages within it. @throws CatalogueError InvalidReplicaState */
import { CatalogueError } from '../domain/errors.js';
import { end, type Range } from '../domain/ranges.js';
import type { DiskWrite } from '../ports/replica-disks.js';

/** Bytes. */
export const PAGE = 512;

export const rangeOf = (write: DiskWrite): Range => ({
  offset: write.offset,
  length: 'data' in write ? write.data.length : write.clear,
});

export function checkSize(name: string, size: number): void {
  if (Number.isSafeInteger(size) && size > 0 && size % PAGE === 0) return;
  throw new CatalogueError(
    'InvalidReplicaState',
    `${name}: ${size} is not a valid size of a page blob: it must be a multiple of ${PAGE}`,
  );
}

export function checkPages(name: string, size: number, range: Range): void {
  checkRange(name, size, range);
  if (range.offset % PAGE === 0 && range.length % PAGE === 0) return;
  const found = `offset ${range.offset}, length ${range.length} bytes`;
  throw new CatalogueError('InvalidReplicaState', `${name}: ${found}: they must be multiples of ${PAGE}`);
}

export function checkRange(name: string, size: number, range: Range): void {
  const sound = Number.isSafeInteger(range.offset) && Number.isSafeInteger(range.length);
  if (sound && range.offset >= 0 && range.length >= 0 && end(range) <= size) return;
  const asked = `offset ${range.offset}, length ${range.length} bytes`;
  throw new CatalogueError('InvalidReplicaState', `${name}: ${asked}: not within its ${size} bytes`);
}
