/**
 * A replica store in memory, made of what the ports promise and nothing else: no page blobs, no VHDs. A disk is its bytes.
 * Each `open` is another process at the same store.
 */
import { CatalogueError } from '../../domain/errors.js';
import { compareFences, type Fence } from '../../domain/fence.js';
import { end, mergeRanges, type Range } from '../../domain/ranges.js';
import type { Objects, WriteFence } from '../../ports/objects.js';
import type { DiskAddress, DiskWrite, ReplicaDisk, ReplicaDisks } from '../../ports/replica-disks.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { checkName, checkScope } from '../../sites/blob-names.js';
import { checkAddress, fenceOfDisk } from '../../sites/disk-address.js';
import { checkPages, checkRange, checkSize, rangeOf } from '../../sites/page-requests.js';
import { NO_FENCE, refuseOlder, scopeOf } from '../../sites/write-fence.js';

interface MemoryDisk {
  content: Buffer;
  readonly snapshots: Map<string, Buffer>;
}

const SECTOR = 512;

export class MemoryStore {
  readonly #fences = new Map<string, Fence>();
  readonly #objects = new Map<string, Buffer>();
  readonly #disks = new Map<string, MemoryDisk>();
  #snapshots = 0;

  open(): ReplicaStore {
    return { objects: this.#openObjects(), disks: this.#openDisks(), close: () => Promise.resolve() };
  }

  #fenceOf(scope: string): Fence {
    return this.#fences.get(checkScope(scope)) ?? NO_FENCE;
  }

  #refuse(name: string, fence: WriteFence): void {
    refuseOlder(name, fence, this.#fenceOf(scopeOf(name, fence)));
  }

  #openObjects(): Objects {
    const objects = this.#objects;
    const put = async (name: string, data: Buffer, fence: WriteFence): Promise<void> => {
      this.#refuse(name, fence);
      objects.set(name, Buffer.from(data));
    };
    const readInto = async (name: string, offset: number, target: Buffer): Promise<void> => {
      const data = objects.get(checkName(name));
      if (!data) throw new CatalogueError('InvalidReplicaState', `there is no object ${name}`);
      checkRange(name, data.length, { offset, length: target.length });
      data.copy(target, 0, offset);
    };
    return {
      put,
      putIfAbsent: async (name, data, fence) => {
        this.#refuse(name, fence);
        if (objects.has(name)) return false;
        await put(name, data, fence);
        return true;
      },
      upload: async (name, chunks, fence) => {
        this.#refuse(name, fence);
        const parts: Buffer[] = [];
        for await (const chunk of chunks) parts.push(Buffer.from(chunk));
        await put(name, Buffer.concat(parts), fence);
      },
      get: async (name) => {
        const data = objects.get(checkName(name));
        return data && Buffer.from(data);
      },
      read: async (name, offset, length) => {
        const target = Buffer.alloc(length);
        await readInto(name, offset, target);
        return target;
      },
      readInto,
      list: async (prefix) => {
        const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
        if (folder !== '') checkName(folder.slice(0, -1));
        return [...objects.keys()].filter((name) => name.startsWith(prefix)).sort();
      },
      listSizes: async (prefix) =>
        [...objects.keys()]
          .filter((name) => name.startsWith(prefix))
          .sort()
          .map((name) => ({ name, bytes: objects.get(name)!.length })),
      delete: async (name, fence) => {
        this.#refuse(name, fence);
        objects.delete(name);
      },
      raiseFence: async ({ scope, epoch, sequence }) => {
        const raised = { epoch, sequence };
        if (compareFences(raised, this.#fenceOf(scope)) > 0) this.#fences.set(checkScope(scope), raised);
      },
      readFence: async (scope) => this.#fenceOf(scope),
    };
  }

  #openDisks(): ReplicaDisks {
    const disks = this.#disks;
    const refuse = (address: DiskAddress, fence: Fence): void => {
      const name = nameOf(address);
      this.#refuse(name, fenceOfDisk(address, fence));
    };
    const find = (address: DiskAddress): MemoryDisk => {
      const found = disks.get(nameOf(address));
      if (found) return found;
      throw new CatalogueError('InvalidReplicaState', `there is no disk ${nameOf(address)}`);
    };
    const contentOf = (address: DiskAddress, snapshot: string | undefined): Buffer => {
      const { content, snapshots } = find(address);
      const found = snapshot === undefined ? content : snapshots.get(snapshot);
      if (found) return found;
      throw new CatalogueError('InvalidReplicaState', `${nameOf(address)} has no snapshot ${snapshot}`);
    };
    const opened = (address: DiskAddress, fence: Fence | undefined, snapshot?: string): ReplicaDisk => {
      const size = contentOf(address, snapshot).length;
      const read = async (target: Buffer, offset: number): Promise<void> => {
        checkRange(nameOf(address), size, { offset, length: target.length });
        contentOf(address, snapshot).copy(target, 0, offset);
      };
      return {
        size,
        read,
        readUncached: read,
        dataRanges: async (range) => {
          checkRange(nameOf(address), size, range);
          return occupied(contentOf(address, snapshot), range);
        },
        write: async (writes) => {
          for (const write of writes) checkPages(nameOf(address), size, rangeOf(write));
          const { content } = find(address);
          refuse(address, fence!);
          for (const write of writes) apply(content, write);
        },
        close: () => Promise.resolve(),
      };
    };
    return {
      create: async (address, size, fence) => {
        checkSize(nameOf(address), size);
        refuse(address, fence);
        const there = disks.get(nameOf(address))?.content.length;
        if (there === undefined) disks.set(nameOf(address), { content: Buffer.alloc(size), snapshots: new Map() });
        else if (there !== size) throw new CatalogueError('InvalidReplicaState', `it has ${there} bytes, not ${size}`);
      },
      resize: async (address, size, fence) => {
        checkSize(nameOf(address), size);
        const disk = find(address);
        refuse(address, fence);
        if (disk.content.length > size) throw new CatalogueError('InvalidReplicaState', `${size} bytes are fewer`);
        disk.content = Buffer.concat([disk.content], size);
      },
      size: async (address, snapshot) => {
        const found = disks.get(nameOf(address));
        return found && contentOf(address, snapshot).length;
      },
      delete: async (address, fence) => {
        refuse(address, fence);
        disks.delete(nameOf(address));
      },
      mend: async (address, fence) => {
        find(address);
        refuse(address, fence);
        return undefined;
      },
      snapshot: async (address, fence) => {
        const disk = find(address);
        refuse(address, fence);
        const id = String((this.#snapshots += 1)).padStart(8, '0');
        disk.snapshots.set(id, Buffer.from(disk.content));
        return id;
      },
      listSnapshots: async (address) => [...(disks.get(nameOf(address))?.snapshots.keys() ?? [])],
      deleteSnapshot: async (address, snapshot, fence) => {
        refuse(address, fence);
        disks.get(nameOf(address))?.snapshots.delete(snapshot);
      },
      open: async (address, fence) => opened(address, fence),
      openReadOnly: async (address, snapshot) => opened(address, undefined, snapshot),
    };
  }
}

function nameOf(address: DiskAddress): string {
  checkAddress(address);
  return `vms/${address.vm}/${address.disk}`;
}

function apply(content: Buffer, write: DiskWrite): void {
  if ('data' in write) write.data.copy(content, write.offset);
  else content.fill(0, write.offset, write.offset + write.clear);
}

function occupied(content: Buffer, range: Range): Range[] {
  const found: Range[] = [];
  for (let offset = range.offset; offset < end(range); offset += SECTOR) {
    const sector = content.subarray(offset, Math.min(offset + SECTOR, end(range)));
    if (sector.some((byte) => byte !== 0)) found.push({ offset, length: sector.length });
  }
  return mergeRanges(found);
}
