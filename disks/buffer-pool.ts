/**
 * Reused buffers of one size: the kernel would have to zero new memory page by page. They are aligned for direct access
 * to disks.
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

  /** Returns a buffer; neither it nor a part of it may be used afterwards. */
  give(buffer: Buffer): void {
    this.#free.push(buffer);
  }
}
