/** Divides content of any length into the blocks of an upload. */

/** Size of a block, bytes. */
const UPLOAD_BLOCK = 4 * 1024 * 1024;

/** Divides content into blocks of one size. The chunks may reuse the same memory, so kept data is copied. */
export async function* blocksOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let block = Buffer.allocUnsafe(UPLOAD_BLOCK);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const copied = chunk.copy(block, filled, at);
      at += copied;
      filled += copied;
      if (filled < block.length) continue;
      yield block;
      block = Buffer.allocUnsafe(UPLOAD_BLOCK);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
