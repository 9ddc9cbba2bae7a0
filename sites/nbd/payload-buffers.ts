/**
 * Payload buffers that are used again: fresh ones cost more than what is done with them, as the system has to hand out
 * and clear every page. Sizes are powers of two.
 */

const SMALLEST = 4096;
/** Bytes kept for later, at most. */
const KEPT = 32 * 1024 * 1024;

export class PayloadBuffers {
  readonly #free = new Map<number, Buffer[]>();
  #kept = 0;

  /** A buffer of at least `length` bytes, content undefined. Give it back with `release` once nobody looks at it. */
  acquire(length: number): Buffer {
    const size = Math.max(SMALLEST, 2 ** Math.ceil(Math.log2(length)));
    const buffer = this.#free.get(size)?.pop();
    if (!buffer) return Buffer.allocUnsafeSlow(size);
    this.#kept -= size;
    return buffer;
  }

  release(buffer: Buffer): void {
    if (this.#kept + buffer.length > KEPT) return;
    this.#kept += buffer.length;
    const free = this.#free.get(buffer.length);
    if (free) free.push(buffer);
    else this.#free.set(buffer.length, [buffer]);
  }
}
