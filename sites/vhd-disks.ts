/**
 * Replica disks as page blobs in the layout of a fixed VHD: the disk, then its footer. So qemu-img and other programs
 * that read VHDs can open a replica, and a storage account can turn it into a managed disk.
 */
import { end, alignDown, alignUp, clipRanges, splitRange, type Range } from '../domain/ranges.js';
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import { vaultPaths } from '../domain/vault.js';
import { footerOfDisk, VHD_FOOTER_BYTES } from '../disks/vhd.js';
import type { WriteFence } from '../ports/objects.js';
import type {
  DataRangeOptions,
  DiskAddress,
  DiskWrite,
  ReadableReplicaDisk,
  ReplicaDisk,
  ReplicaDisks,
  SnapshotListOptions,
  WriteOptions,
} from '../ports/replica-disks.js';
import { checkAddress, fenceOfDisk } from './disk-address.js';
import type { PageBlobs, PageReadOptions } from './page-blobs.js';
import { checkPages, checkRange, checkSize, PAGE, rangeOf } from './page-requests.js';

/** Bytes requested from a store in one piece. */
const LARGEST_READ = 4 * 1024 * 1024;

/** @throws CatalogueError InvalidReplicaState if these cannot be the names of a VM and a disk. */
export function replicaBlobName(vm: string, disk: string): string {
  checkAddress({ vm, disk });
  return `${vaultPaths.vm(vm)}/disks/${disk}.vhd`;
}

const nameOf = ({ vm, disk }: DiskAddress): string => replicaBlobName(vm, disk);

export class VhdDisks implements ReplicaDisks {
  constructor(private readonly blobs: PageBlobs) {}

  async create(disk: DiskAddress, size: number, fence: Fence): Promise<void> {
    const name = nameOf(disk);
    checkSize(name, size);
    await this.blobs.create(name, size + VHD_FOOTER_BYTES, fenceOfDisk(disk, fence));
    await this.#writeFooter(disk, size, fence);
  }

  /**
   * Removes the old footer first, which would become content. If this is interrupted, the disk keeps its old size
   * without a footer; resizing again, or mending, writes one.
   */
  async resize(disk: DiskAddress, size: number, fence: Fence): Promise<void> {
    const name = nameOf(disk);
    checkSize(name, size);
    const former = await this.#requireSize(disk);
    if (former > size) {
      throw new CatalogueError(
        'InvalidReplicaState',
        `${name} has ${former} bytes; it can't get the smaller size ${size}`,
      );
    }
    if (former < size) {
      const writeFence = fenceOfDisk(disk, fence);
      await this.blobs.write(name, [{ offset: former, clear: VHD_FOOTER_BYTES }], writeFence);
      await this.blobs.resize(name, size + VHD_FOOTER_BYTES, writeFence);
    }
    await this.#writeFooter(disk, size, fence);
  }

  async size(disk: DiskAddress, snapshot?: string): Promise<number | undefined> {
    const size = await this.blobs.size(nameOf(disk), snapshot);
    return size === undefined ? undefined : size - VHD_FOOTER_BYTES;
  }

  async delete(disk: DiskAddress, fence: Fence): Promise<void> {
    await this.blobs.delete(nameOf(disk), fenceOfDisk(disk, fence));
  }

  /** A footer may always be written again: it contains only names and sizes. */
  async mend(disk: DiskAddress, fence: Fence): Promise<string | undefined> {
    const size = await this.#requireSize(disk);
    const footer = Buffer.alloc(VHD_FOOTER_BYTES);
    await this.blobs.readInto(nameOf(disk), size, footer);
    if (footer.equals(footerOfDisk(disk.vm, disk.disk, size))) return undefined;
    await this.#writeFooter(disk, size, fence);
    return `the footer behind ${size} bytes`;
  }

  async snapshot(disk: DiskAddress, fence: Fence): Promise<string> {
    return await this.blobs.snapshot(nameOf(disk), fenceOfDisk(disk, fence));
  }

  async listSnapshots(disk: DiskAddress, options?: SnapshotListOptions): Promise<string[]> {
    return await this.blobs.listSnapshots(nameOf(disk), options);
  }

  async deleteSnapshot(disk: DiskAddress, snapshot: string, fence: Fence): Promise<void> {
    await this.blobs.deleteSnapshot(nameOf(disk), snapshot, fenceOfDisk(disk, fence));
  }

  async open(disk: DiskAddress, fence: Fence): Promise<ReplicaDisk> {
    const size = await this.#requireSize(disk);
    return new WritableVhd(this.blobs, nameOf(disk), size, fenceOfDisk(disk, fence));
  }

  async openReadOnly(disk: DiskAddress, snapshot?: string): Promise<ReadableReplicaDisk> {
    const name = nameOf(disk);
    if (snapshot !== undefined && !(await this.listSnapshots(disk, { isReadable: true })).includes(snapshot)) {
      throw new CatalogueError('InvalidReplicaState', `${name} has no snapshot ${snapshot} that can be read`);
    }
    return new OpenVhd(this.blobs, name, await this.#requireSize(disk, snapshot), snapshot);
  }

  async #requireSize(disk: DiskAddress, snapshot?: string): Promise<number> {
    const size = await this.size(disk, snapshot);
    if (size !== undefined) return size;
    throw new CatalogueError('InvalidReplicaState', `there is no ${nameOf(disk)}`);
  }

  async #writeFooter(disk: DiskAddress, size: number, fence: Fence): Promise<void> {
    const footer = { offset: size, data: footerOfDisk(disk.vm, disk.disk, size) };
    await this.blobs.write(nameOf(disk), [footer], fenceOfDisk(disk, fence));
  }
}

class OpenVhd implements ReadableReplicaDisk {
  constructor(
    protected readonly blobs: PageBlobs,
    protected readonly name: string,
    readonly size: number,
    private readonly snapshot?: string,
  ) {}

  async read(target: Buffer, offset: number): Promise<void> {
    await this.#read(target, offset, { snapshot: this.snapshot });
  }

  async readUncached(target: Buffer, offset: number): Promise<void> {
    await this.#read(target, offset, { snapshot: this.snapshot, isReadBack: true });
  }

  async dataRanges(range: Range, { isProof = false }: DataRangeOptions = {}): Promise<Range[]> {
    checkRange(this.name, this.size, range);
    const offset = alignDown(range.offset, PAGE);
    const pages = { offset, length: alignUp(end(range), PAGE) - offset };
    return clipRanges(await this.blobs.ranges(this.name, pages, { snapshot: this.snapshot, isProof }), range);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #read(target: Buffer, offset: number, how: PageReadOptions): Promise<void> {
    const range = { offset, length: target.length };
    // The footer behind the disk is not part of its content.
    checkRange(this.name, this.size, range);
    for (const piece of splitRange(range, LARGEST_READ)) {
      const at = piece.offset - offset;
      await this.blobs.readInto(this.name, piece.offset, target.subarray(at, at + piece.length), how);
    }
  }
}

class WritableVhd extends OpenVhd implements ReplicaDisk {
  constructor(
    blobs: PageBlobs,
    name: string,
    size: number,
    private readonly fence: WriteFence,
  ) {
    super(blobs, name, size);
  }

  async write(writes: readonly DiskWrite[], options?: WriteOptions): Promise<void> {
    for (const write of writes) checkPages(this.name, this.size, rangeOf(write));
    await this.blobs.write(this.name, writes, this.fence, options);
  }
}
