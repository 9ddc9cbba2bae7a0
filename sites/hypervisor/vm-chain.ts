/**
 * The files behind one disk of a VM: a base, which may be an overlay itself, and above it the overlay of a VM snapshot while
 * there is one. What the guest's tracked disk sits on is the top.
 */
import { stat, type FileHandle } from 'node:fs/promises';
import type { VirtualDisk } from '../../disks/disk.js';
import { diskError } from '../../disks/disk-errors.js';
import { fileKey, fileKeyAt, identifyFile, type FileIdentity } from '../../disks/file-identity.js';
import { tryLockFile } from '../../disks/native.js';
import { openDisk } from '../../disks/open-disk.js';
import { OverlayDisk } from '../../disks/overlay.js';
import { openDiskFile, RawDisk } from '../../disks/raw.js';
import { CatalogueError } from '../../domain/errors.js';
import { mergeRanges, type Range } from '../../domain/ranges.js';
import type { DiskFormat } from '../../domain/site.js';

/** A disk as the hypervisor was told of it. */
export interface DiskOfVm {
  readonly name: string;
  /** Change logs lie beside this file. */
  readonly path: string;
  /** Where a VM snapshot puts its overlay. */
  readonly overlay: string;
  readonly format: string;
  /** Not replicated: neither tracked nor part of a VM snapshot. */
  readonly excluded?: boolean;
  /** What the file at its path is now. Left out where there is none that somebody else might change. */
  identify?(): Promise<FileIdentity | undefined>;
  openBase(): Promise<VirtualDisk>;
}

/** What is at the path of a disk is not what the VM has open. */
export interface Displaced {
  /** There is nothing. */
  readonly isGone: boolean;
  /** For people. */
  readonly detail: string;
}

/** A disk file, kept from any other hypervisor of this machine while it is open. */
export const diskFile = (disk: { name: string; path: string; format?: DiskFormat; excluded: boolean }): DiskOfVm => ({
  ...disk,
  overlay: `${disk.path}.avhd`,
  // As it is opened: once a guest writes to it, what it looks like says nothing any more.
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

  /** @throws CatalogueError DiskMissing, BrokenChain, InvalidVmState (open elsewhere) */
  static async open(disk: DiskOfVm): Promise<DiskChain> {
    const base = await disk.openBase();
    try {
      const { overlay } = disk;
      // Served without its overlay a disk would silently lose what the guest wrote since the snapshot.
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

  /** The parts of a range that a guest may have written since the disk was made above another; all of it where it was not. */
  writtenRanges(range: Range): Range[] {
    if (!(this.base instanceof OverlayDisk)) return [range];
    // A merge marks a block in the base before it is no longer one of the snapshot's overlay.
    return mergeRanges([...this.base.ownRanges(range), ...(this.#overlay?.ownRanges(range) ?? [])]);
  }

  /** What the open file of the base is; undefined where there is nothing to go by. */
  async identify(): Promise<FileIdentity | undefined> {
    return this.base instanceof RawDisk ? this.base.identify() : undefined;
  }

  /** Which file the base is; undefined where it is none of this machine. */
  async fileKey(): Promise<string | undefined> {
    return this.base instanceof RawDisk ? this.base.fileKey() : undefined;
  }

  /** Whoever reads the disk by its path does not read what the guest does: why. Undefined when all is well. */
  async displaced(): Promise<Displaced | undefined> {
    const key = await this.fileKey();
    const { path } = this.disk;
    const found = key === undefined ? undefined : await fileKeyAt(path);
    if (key === found) return undefined;
    if (found === undefined) return { isGone: true, detail: `${path} no longer exists` };
    return { isGone: false, detail: `${path} is not the file that the VM has open` };
  }

  /** From now on the base stays as it is. Nothing may be in flight. */
  async takeSnapshot(): Promise<void> {
    this.#overlay ??= await OverlayDisk.create(this.disk.overlay, this.base);
  }

  /** Removes the overlay once everything is merged; `top` is the base then. Nothing may be in flight. */
  async dropSnapshot(): Promise<void> {
    const overlay = this.#overlay;
    if (!overlay) return;
    await overlay.remove();
    this.#overlay = undefined;
  }

  async close(): Promise<void> {
    try {
      await this.#overlay?.close();
    } finally {
      await this.base.close();
    }
  }
}

/** An overlay exists when its bitmap does; content without a bitmap is one that lost it, for `open` to complain of. */
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
