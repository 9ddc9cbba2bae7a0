/**
 * Buffers of one size that are used again: fresh memory has to be zeroed by the kernel, page by page. They are aligned,
 * so that a disk can work with them directly.
 */
import { alignedBuffer } from './direct-io.js';

export class BufferPool {
  readonly #size: number;
  readonly #free: Buffer[] = [];

  /** @param size bytes. */
  constructor(size: number) {
    this.#size = size;
  }

  /** Its content is arbitrary. */
  take(): Buffer {
    return this.#free.pop() ?? alignedBuffer(this.#size);
  }

  /** Nobody may use the buffer, or a part of it, any more. */
  give(buffer: Buffer): void {
    this.#free.push(buffer);
  }
}
