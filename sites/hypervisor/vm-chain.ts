/**
 * The files behind one disk of a VM: a base, which may itself be an overlay, and, while a VM snapshot exists, the
 * snapshot's overlay above the base. The guest's tracked disk uses the top of this chain.
 */
import { stat, type FileHandle } from 'node:fs/promises';
import type { VirtualDisk } from '../../disks/disk.js';
import { diskError } from '../../disks/disk-errors.js';
import { fileKey, fileKeyAt, identifyFile, type FileIdentity } from '../../disks/file-identity.js';
import { tryLockFile } from '../../disks/native.js';
import { openDisk } from '../../disks/open-disk.js';
import { OverlayDisk } from '../../disks/overlay.js';
import { removeOverlayFiles } from '../../disks/overlay-files.js';
import { openDiskFile, RawDisk } from '../../disks/raw.js';
import { CatalogueError } from '../../domain/errors.js';
import { mergeRanges, type Range } from '../../domain/ranges.js';
import type { DiskFormat } from '../../domain/site.js';

/** A disk from the hypervisor's configuration. */
export interface DiskOfVm {
  readonly name: string;
  /** Path of the disk file. The change logs lie beside it. */
  readonly path: string;
  /** Path of the overlay that a VM snapshot creates. */
  readonly overlay: string;
  readonly format: string;
  /** Not replicated: neither tracked nor part of a VM snapshot. */
  readonly excluded?: boolean;
  /** Identifies the file that is at the path now. Absent for a disk that no other program might change. */
  identify?(): Promise<FileIdentity | undefined>;
  openBase(): Promise<VirtualDisk>;
}

/** The file at a disk's path is not the file that the VM has open. */
export interface Displaced {
  /** No file is at the path. */
  readonly isGone: boolean;
  /** Message for operators. */
  readonly detail: string;
}

/** A disk in a local file. While it is open, no other hypervisor of this machine can open it. */
export const diskFile = (disk: { name: string; path: string; format?: DiskFormat; excluded: boolean }): DiskOfVm => ({
  ...disk,
  overlay: `${disk.path}.avhd`,
  // Fixed here: once a guest writes to the disk, its contents no longer tell its format.
  format: disk.format ?? 'raw',
  identify: () => identifyFile(disk.path),
  openBase: async () => {
    const { path, format } = disk;
    const lock = await lockDisk(path);
    try {
      const opened = await openDisk(path, format);
      if (opened instanceof RawDisk && fileKey(await lock.stat({ bigint: true })) !== (await opened.fileKey())) {
        await opened.close();
        throw new CatalogueError('InvalidVmState', `${path} was replaced while it was being opened`);
      }
      const close = opened.close.bind(opened);
      opened.close = async () => {
        try {
          await close();
        } finally {
          await lock.close();
        }
      };
      return opened;
    } catch (error) {
      await lock.close();
      throw error;
    }
  },
});

async function lockDisk(path: string): Promise<FileHandle> {
  const file = await openDiskFile(path, true);
  if (tryLockFile(file.fd, 'exclusive')) return file;
  await file.close();
  throw new CatalogueError('InvalidVmState', `another hypervisor has ${path} open`);
}

export class DiskChain {
  #overlay: OverlayDisk | undefined;

  private constructor(
    private readonly disk: DiskOfVm,
    private readonly base: VirtualDisk,
    overlay: OverlayDisk | undefined,
  ) {
    this.#overlay = overlay;
  }

  /** @throws CatalogueError DiskMissing, BrokenChain, or InvalidVmState if another hypervisor has the disk open. */
  static async open(disk: DiskOfVm): Promise<DiskChain> {
    const base = await disk.openBase();
    try {
      const { overlay } = disk;
      // Without its overlay, the disk would silently lose what the guest wrote since the snapshot.
      const opened = (await holdsOverlay(overlay)) ? await OverlayDisk.open(overlay, base) : undefined;
      return new DiskChain(disk, base, opened);
    } catch (error) {
      await base.close();
      throw error;
    }
  }

  get top(): VirtualDisk {
    return this.#overlay ?? this.base;
  }

  /** The overlay of a VM snapshot. */
  get snapshot(): OverlayDisk | undefined {
    return this.#overlay;
  }

  /**
   * The parts of a range that a guest may have written since the overlay was created above its base. For a disk that is
   * not an overlay: the whole range. @param ofSnapshot leaves out what was written since the VM snapshot.
   */
  writtenRanges(range: Range, ofSnapshot: boolean): Range[] {
    if (!(this.base instanceof OverlayDisk)) return [range];
    if (ofSnapshot) return mergeRanges(this.base.ownRanges(range));
    // A merge marks a block in the base before it clears it in the snapshot's overlay, so no block is missed.
    return mergeRanges([...this.base.ownRanges(range), ...(this.#overlay?.ownRanges(range) ?? [])]);
  }

  /** Identity of the base's open file; undefined for a disk that is not a raw file. */
  async identify(): Promise<FileIdentity | undefined> {
    return this.base instanceof RawDisk ? this.base.identify() : undefined;
  }

  /** Key of the base's open file; undefined for a disk that is not a raw file. */
  async fileKey(): Promise<string | undefined> {
    return this.base instanceof RawDisk ? this.base.fileKey() : undefined;
  }

  /** Why reading the disk by its path would not yield what the guest reads; undefined if it would. */
  async displaced(): Promise<Displaced | undefined> {
    const key = await this.fileKey();
    const { path } = this.disk;
    const found = key === undefined ? undefined : await fileKeyAt(path);
    if (key === found) return undefined;
    if (found === undefined) return { isGone: true, detail: `${path} no longer exists` };
    return { isGone: false, detail: `${path} is not the file that the VM has open` };
  }

  /** Leaves the base unchanged from now on. No request may be in flight. */
  async takeSnapshot(): Promise<void> {
    this.#overlay ??= await OverlayDisk.create(this.disk.overlay, this.base);
  }

  /** Removes the overlay once everything is merged; `top` is then the base. No request may be in flight. */
  async dropSnapshot(): Promise<void> {
    const overlay = this.#overlay;
    if (!overlay) return;
    await overlay.remove();
    this.#overlay = undefined;
  }

  /** Deletes the overlay and everything written to it. The disk is closed. */
  static async discardOverlay({ overlay }: DiskOfVm): Promise<void> {
    await removeOverlayFiles(overlay);
  }

  async close(): Promise<void> {
    try {
      await this.#overlay?.close();
    } finally {
      await this.base.close();
    }
  }
}

/**
 * An overlay exists if its bitmap does. Data without a bitmap is an overlay that lost its bitmap: it counts too, so
 * that `open` reports the error.
 */
async function holdsOverlay(path: string): Promise<boolean> {
  const [data, bitmap] = await Promise.all([blocksOf(path), blocksOf(`${path}.bitmap`)]);
  return bitmap !== undefined || (data ?? 0) > 0;
}

async function blocksOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).blocks;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw diskError(error, path, 'read');
  }
}
