/**
 * Guests that are not booted: one writer per disk, over NBD. Each writes numbered, checksummed blocks continuously until
 * its disk is taken away, and then continues where its VM runs next.
 */
import { NbdGuest } from '../../sites/nbd/guest.js';
import { NumberedWriter } from '../../sites/nbd/numbered-writer.js';
import { guestRegion, type DemoDisk } from './demo-site.js';
import type { DemoGuests, Side, Written } from './guests.js';

/** Blocks between two flushes. */
const BLOCKS_PER_FLUSH = 64;
/** Pause between two writes of a guest, ms: keeps the disk busy but leaves the machine time for other work. */
const PAUSE_MS = 5;

class DiskWriter {
  #stopped = false;
  #writer: NumberedWriter | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(
    readonly disk: DemoDisk,
    private readonly diskId: string,
  ) {}

  get written(): Written {
    return { vm: this.disk.vm, disk: this.disk.name, kind: 'blocks', newest: this.#writer?.acknowledged ?? 0 };
  }

  /** Connects and writes, starting after the newest existing block. */
  async start(nbdUri: string): Promise<void> {
    const connection = await NbdGuest.connect(nbdUri);
    this.#stopped = false;
    this.#writer = await NumberedWriter.resume(connection, this.diskId, guestRegion(this.disk));
    const writer = this.#writer;
    this.#running = this.#write(writer, connection);
  }

  /** Resolves when the writer has ended: either it was stopped, or its disk was taken away. */
  async ended(): Promise<void> {
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #write(writer: NumberedWriter, connection: NbdGuest): Promise<void> {
    try {
      while (!this.#stopped) {
        await writer.writeNext();
        if (writer.acknowledged % BLOCKS_PER_FLUSH === 0) await writer.flush();
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    } catch {
      // The disk was taken away, which is what a failover looks like to a guest.
    } finally {
      await connection.close().catch(() => undefined);
    }
  }
}

export class WritingGuests implements DemoGuests {
  readonly areBooted = false;
  readonly #writers: DiskWriter[];

  constructor(disks: readonly DemoDisk[]) {
    this.#writers = disks.map((disk) => new DiskWriter(disk, `${disk.vm}/${disk.name}`));
  }

  async begin(vm: string, _: Side, uriOf: (disk: DemoDisk) => string): Promise<void> {
    await Promise.all(this.#of(vm).map((writer) => writer.start(uriOf(writer.disk))));
  }

  isBooted(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async ended(vm: string): Promise<Written[]> {
    await Promise.all(this.#of(vm).map((writer) => writer.ended()));
    return this.#of(vm).map(({ written }) => written);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#writers.map((writer) => writer.stop()));
  }

  #of(vm: string): DiskWriter[] {
    return this.#writers.filter(({ disk }) => disk.vm === vm);
  }
}

/**
 * Tries to write to a disk that was shut down.
 * @returns the error that it got.
 * @throws Error if the write succeeded.
 */
export async function tryForbiddenWrite(nbdUri: string): Promise<string> {
  let guest: NbdGuest;
  try {
    guest = await NbdGuest.connect(nbdUri);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  try {
    await guest.write(Buffer.alloc(4096), 0);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await guest.close().catch(() => undefined);
  }
  throw new Error(`a write to ${nbdUri} went through although the VM is shut down`);
}
