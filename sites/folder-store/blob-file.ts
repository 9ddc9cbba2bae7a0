/** Opens the file of a page blob for one piece of work. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { CatalogueError } from '../../domain/errors.js';
import { unlessMissing } from './folder-errors.js';
import type { StoreLayout } from './names.js';

/** @throws CatalogueError InvalidReplicaState if there is no such blob. */
export async function withBlobFile<T>(
  layout: StoreLayout,
  name: string,
  access: 'read' | 'write',
  work: (blob: FileHandle) => Promise<T>,
): Promise<T> {
  const flags = access === 'read' ? constants.O_RDONLY : constants.O_RDWR;
  const blob = await unlessMissing(open(layout.file(name), flags), undefined);
  if (!blob) throw missingBlob(name);
  try {
    return await work(blob);
  } finally {
    await blob.close();
  }
}

export const missingBlob = (name: string) => new CatalogueError('InvalidReplicaState', `there is no page blob ${name}`);
