/** Opens a disk file in the format that the site file declares. */
import { CatalogueError } from '../domain/errors.js';
import type { DiskFormat } from '../domain/site.js';
import type { VirtualDisk } from './disk.js';
import { diskError } from './disk-errors.js';
import { signatureOf } from './disk-signature.js';
import { fileSize } from './file-size.js';
import { openDiskFile, RawDisk } from './raw.js';
import { openVhd } from './vhd.js';

/**
 * @param format undefined if the site file declares none: it is then raw, and a file that looks like another format is
 * refused, because a guest's first write would destroy it.
 * @throws CatalogueError DiskMissing, ForeignDiskFormat, BrokenChain if the file does not have that format,
 * AuthorizationFailed.
 */
export async function openDisk(
  path: string,
  format: DiskFormat | undefined,
  options: { readOnly?: boolean } = {},
): Promise<VirtualDisk> {
  switch (format) {
    case undefined:
      await refuseOtherFormats(path);
      return await RawDisk.open(path, options);
    case 'raw':
      return await RawDisk.open(path, options);
    case 'vhd':
      return await openVhd(path, options);
  }
}

async function refuseOtherFormats(path: string): Promise<void> {
  const file = await openDiskFile(path, true);
  try {
    const found = await signatureOf(file, await fileSize(file));
    if (found === undefined) return;
    throw new CatalogueError('ForeignDiskFormat', `${path} is a ${found}, but the site file gives no format for it`);
  } catch (error) {
    throw diskError(error, path, 'read');
  } finally {
    await file.close();
  }
}
