/** Bytes that differ from block to block and from seed to seed, and are never zero. */
export function content(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i += 1) bytes[i] = 1 + ((i * 31 + (i >> 9) * 17 + seed * 101) % 255);
  return bytes;
}

export async function* chunked(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < data.length; offset += size) yield data.subarray(offset, offset + size);
}
