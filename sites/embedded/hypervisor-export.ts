/** A tracked disk as an NBD export: a guest's flush and FUA sync the disk, never the log. */
import type { TrackedDisk } from '../../replication/tracker-disk.js';
import type { Durability, NbdExport } from './nbd-export.js';

export const exportOf = (disk: TrackedDisk): NbdExport => {
  const finish = async (written: Promise<void>, { fua }: Durability) => {
    await written;
    if (fua) await disk.flush();
  };
  return {
    size: disk.size,
    read: (target, offset) => disk.read(target, offset),
    write: (data, offset, durability) => finish(disk.write(data, offset), durability),
    writeZeroes: (range, durability) => finish(disk.writeZeroes(range), durability),
    flush: () => disk.flush(),
  };
};
