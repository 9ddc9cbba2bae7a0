/** Content of any length as blocks of an upload. */

/** Bytes of a block. */
const UPLOAD_BLOCK = 4 * 1024 * 1024;

/** Cuts content into blocks of one size. The chunks may be the same memory each time: what is kept is copied. */
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
