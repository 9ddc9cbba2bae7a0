/**
 * Reused buffers for payloads: new ones cost more than processing their content, because the system has to provide and
 * clear every page. Sizes are powers of two.
 */

const SMALLEST = 4096;
/** Limit of bytes kept for reuse. */
const KEPT = 32 * 1024 * 1024;

export class PayloadBuffers {
  readonly #free = new Map<number, Buffer[]>();
  #kept = 0;

  /** A buffer of at least `length` bytes with undefined content. Return it with `release` when it is no longer used. */
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
