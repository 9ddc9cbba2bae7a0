/** Opens a disk file by the format the site file names. */
import type { DiskFormat } from '../domain/site.js';
import type { VirtualDisk } from './disk.js';
import { RawDisk } from './raw.js';
import { openVhd } from './vhd.js';

/** @throws CatalogueError DiskMissing, BrokenChain when the file is not of that format, AuthorizationFailed. */
export function openDisk(path: string, format: DiskFormat, options: { readOnly?: boolean } = {}): Promise<VirtualDisk> {
  switch (format) {
    case 'raw':
      return RawDisk.open(path, options);
    case 'vhd':
      return openVhd(path, options);
  }
}
