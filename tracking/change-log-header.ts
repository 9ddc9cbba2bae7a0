/** Writes the header of a log that is open: its two slots in turns, so that one of them is always whole. */
import { writeSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { writeFully } from './change-log-appender.js';
import { encodeEnd, encodeSlot, endPosition, slotPosition, type LogHeader } from './change-log-format.js';

export class HeaderWriter {
  #writes: Promise<void> = Promise.resolve();
  #syncFailure: Error | undefined;

  /** @param generation of the slot that was written last. */
  constructor(
    private readonly handle: FileHandle,
    private readonly header: LogHeader,
    private generation: number,
  ) {}

  /** One after the other; each writes what the header is by then. @param durable whether all of the file is synced, too. */
  write(durable: boolean): Promise<void> {
    const written = this.#writes
      .catch(() => undefined)
      .then(async () => {
        await this.#writeSlot();
        if (durable) await this.#datasync();
      });
    this.#writes = written;
    return written;
  }

  /** In both slots, on stable storage, one after the other: what is said this way no damage to one of them can unsay. */
  async writeTwice(): Promise<void> {
    await this.write(true);
    await this.write(true);
  }

  /** At once, in a step nothing comes between: known when the process is killed, not yet when the machine is lost. */
  writeNow(): void {
    const slot = encodeSlot(this.header, this.generation + 1);
    writeSync(this.handle.fd, slot, 0, slot.length, slotPosition(this.generation + 1));
    this.generation += 1;
  }

  /** Of a log that tells it: where what was appended whole ends. Costs a guest's write a copy of 16 bytes. */
  appended(position: number): void {
    if (this.header.appended === undefined) return;
    writeSync(this.handle.fd, encodeEnd(position), 0, undefined, endPosition);
    this.header.appended = position;
  }

  /**
   * Stores the content of the file. Once a sync has failed, one for the header included, it fails for good: the system
   * tells only once what it could not store.
   */
  async syncContent(): Promise<void> {
    if (this.#syncFailure) throw this.#syncFailure;
    await this.#datasync();
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#writes.catch(() => undefined);
  }

  /** A slot that could not be written is written again: the other one is whole. */
  async #writeSlot(): Promise<void> {
    const slot = encodeSlot(this.header, this.generation + 1);
    await writeFully(this.handle, [slot], slotPosition(this.generation + 1));
    this.generation += 1;
  }

  async #datasync(): Promise<void> {
    try {
      await this.handle.datasync();
    } catch (error) {
      this.#syncFailure ??= error as Error;
      throw error;
    }
  }
}
