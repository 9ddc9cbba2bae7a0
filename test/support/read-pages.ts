import type { PageBlobs } from '../../sites/page-blobs.js';

/** What a page blob holds, or held when a snapshot was taken. */
export async function readPages(
  blobs: PageBlobs,
  name: string,
  offset: number,
  length: number,
  snapshot?: string,
): Promise<Buffer> {
  const target = Buffer.allocUnsafe(length);
  await blobs.readInto(name, offset, target, { snapshot });
  return target;
}
