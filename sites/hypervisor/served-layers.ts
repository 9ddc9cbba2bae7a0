/** The layers of a VM that is brought back, as its hypervisor serves them over NBD. */
import { CatalogueError } from '../../domain/errors.js';
import type { Range } from '../../domain/ranges.js';
import type { FailbackDisk, FailbackLayers } from '../../ports/failback-target.js';
import { NbdError, NbdGuest } from '../nbd/guest.js';

export class ServedLayers implements FailbackLayers {
  private constructor(
    private readonly vm: string,
    private readonly disks: ReadonlyMap<string, ServedLayer>,
    private readonly recordComplete: () => Promise<void>,
  ) {}

  /** @param uris by disk name. @param recordComplete makes the hypervisor flush and record the change set. */
  static async connect(
    vm: string,
    uris: Readonly<Record<string, string>>,
    recordComplete: () => Promise<void>,
  ): Promise<ServedLayers> {
    const disks = new Map<string, ServedLayer>();
    const layers = new ServedLayers(vm, disks, recordComplete);
    try {
      for (const [name, uri] of Object.entries(uris)) disks.set(name, await ServedLayer.connect(vm, name, uri));
      return layers;
    } catch (error) {
      await layers.close();
      throw error;
    }
  }

  disk(name: string): FailbackDisk {
    const disk = this.disks.get(name);
    if (!disk) throw new CatalogueError('DiskMissing', `${this.vm} has no replicated disk ${name}`);
    return disk;
  }

  async complete(): Promise<void> {
    // The hypervisor flushes, once no connection can write any more.
    await this.close();
    await this.recordComplete();
  }

  async close(): Promise<void> {
    await Promise.all([...this.disks.values()].map((disk) => disk.close()));
  }
}

class ServedLayer implements FailbackDisk {
  private constructor(
    private readonly what: string,
    private readonly connection: NbdGuest,
  ) {}

  static async connect(vm: string, disk: string, uri: string): Promise<ServedLayer> {
    const what = `${vm}/${disk}`;
    return new ServedLayer(
      what,
      await NbdGuest.connect(uri).catch((error: unknown) => {
        throw unreachable(what, error);
      }),
    );
  }

  get size(): number {
    return this.connection.size;
  }

  read(target: Buffer, offset: number): Promise<void> {
    return this.#do('read', this.connection.read(target, offset));
  }

  write(data: Buffer, offset: number): Promise<void> {
    return this.#do('write', this.connection.write(data, offset));
  }

  writeZeroes(range: Range): Promise<void> {
    return this.#do('write', this.connection.writeZeroes(range));
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  async #do(what: 'read' | 'write', request: Promise<void>): Promise<void> {
    try {
      await request;
    } catch (error) {
      if (!(error instanceof NbdError)) throw error;
      if (error.code === 'ENOSPC') {
        throw new CatalogueError('SourceDiskFull', `${this.what}: no space for its failback layer`, { cause: error });
      }
      if (what === 'read' && error.code === 'EIO') {
        throw new CatalogueError('ReadFailed', `${this.what} can't be read`, { cause: error });
      }
      throw unreachable(this.what, error);
    }
  }
}

const unreachable = (what: string, error: unknown): CatalogueError =>
  new CatalogueError('HypervisorUnreachable', `${what}: ${(error as Error).message}`, { cause: error });
