/** Writes the header of an open log: its two slots alternately, so that one of them is always intact. */
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

  /**
   * Writes are serialized; each stores the header as it is when its turn comes. @param durable also syncs the whole
   * file.
   */
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

  /** Writes both slots to stable storage, one after the other, so that damage to one slot cannot lose the content. */
  async writeTwice(): Promise<void> {
    await this.write(true);
    await this.write(true);
  }

  /**
   * Writes synchronously, so that nothing can come between: survives the death of the process, but not yet the loss of
   * the machine.
   */
  writeNow(): void {
    const slot = encodeSlot(this.header, this.generation + 1);
    writeSync(this.handle.fd, slot, 0, slot.length, slotPosition(this.generation + 1));
    this.generation += 1;
  }

  /** Records the end of the complete records, if this log stores it. Costs each guest write a copy of 16 bytes. */
  appended(position: number): void {
    if (this.header.appended === undefined) return;
    writeSync(this.handle.fd, encodeEnd(position), 0, undefined, endPosition);
    this.header.appended = position;
  }

  /**
   * Syncs the content of the file. After one sync has failed, including one for the header, all later ones fail: the
   * system reports only once that it could not store data.
   */
  async syncContent(): Promise<void> {
    if (this.#syncFailure) throw this.#syncFailure;
    await this.#datasync();
  }

  /** Resolves when no write is in progress. */
  async idle(): Promise<void> {
    await this.#writes.catch(() => undefined);
  }

  /** A slot that could not be written is written again; the other one is intact. */
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
