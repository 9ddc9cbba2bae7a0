/**
 * The demo's guests: one writer per disk, over NBD as any guest would, that writes numbered, checksummed blocks without
 * pause until its disk is taken away, and then continues at the recovery site.
 */
import { NbdGuest } from '../../sites/nbd/guest.js';
import { NumberedWriter } from '../../sites/nbd/numbered-writer.js';
import { guestRegion, type DemoDisk } from './demo-site.js';

/** Between two flushes. */
const BLOCKS_PER_FLUSH = 64;
/** A guest writes this often, ms: a busy disk, and the machine still has time for the rest. */
const PAUSE_MS = 5;

export interface GuestReport {
  readonly vm: string;
  readonly disk: string;
  /** Blocks the disk acknowledged. */
  readonly acknowledged: number;
}

class Guest {
  #stopped = false;
  #writer: NumberedWriter | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(
    readonly disk: DemoDisk,
    private readonly diskId: string,
  ) {}

  get acknowledged(): number {
    return this.#writer?.acknowledged ?? 0;
  }

  /** Connects and writes, going on after the newest block that is there. */
  async start(nbdUri: string): Promise<void> {
    const connection = await NbdGuest.connect(nbdUri);
    this.#stopped = false;
    this.#writer = await NumberedWriter.resume(connection, this.diskId, guestRegion(this.disk));
    const writer = this.#writer;
    this.#running = this.#write(writer, connection);
  }

  /** Resolves when it has ended: stopped here, or because its disk was taken away. */
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
      // Its disk was taken away: that is how a failover looks to a guest.
    } finally {
      await connection.close().catch(() => undefined);
    }
  }
}

export class Guests {
  readonly #guests: Guest[];

  constructor(disks: readonly DemoDisk[]) {
    this.#guests = disks.map((disk) => new Guest(disk, `${disk.vm}/${disk.name}`));
  }

  /** @param uriOf the NBD URI of a disk. */
  async start(uriOf: (disk: DemoDisk) => string): Promise<void> {
    await Promise.all(this.#guests.map((guest) => guest.start(uriOf(guest.disk))));
  }

  async ended(): Promise<void> {
    await Promise.all(this.#guests.map((guest) => guest.ended()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#guests.map((guest) => guest.stop()));
  }

  reports(): GuestReport[] {
    return this.#guests.map((guest) => ({
      vm: guest.disk.vm,
      disk: guest.disk.name,
      acknowledged: guest.acknowledged,
    }));
  }
}

/** Tries to write to a disk that was shut down. @returns what it was told. @throws Error when the write went through. */
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
