/** Whether bytes are all zeroes. For data, the comparison ends at the first difference, so it costs almost nothing. */
const AT_ONCE = 64 * 1024;
const zeroes = Buffer.alloc(AT_ONCE);

export function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += AT_ONCE) {
    const length = Math.min(AT_ONCE, bytes.length - at);
    if (zeroes.compare(bytes, at, at + length, 0, length) !== 0) return false;
  }
  return true;
}
