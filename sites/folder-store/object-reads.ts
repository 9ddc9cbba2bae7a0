/** Reads a part of an object from its file. */
import { readPastCache } from '../../disks/direct-io.js';
import type { ReadBackOptions } from '../../ports/objects.js';
import { readExactly } from './chain.js';
import { withFile } from './files.js';

/** @throws CatalogueError InvalidReplicaState if the file is too short; Node's own errors. */
export async function readObjectFile(
  file: string,
  offset: number,
  target: Buffer,
  { isReadBack = false }: ReadBackOptions = {},
): Promise<void> {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new RangeError(`${file}: offset ${offset} was asked for`);
  const done = isReadBack ? await readPastCache(file, target, offset) : 0;
  if (done === target.length) return;
  await withFile(file, 'r', async (handle) => await readExactly(handle, target.subarray(done), offset + done));
}
