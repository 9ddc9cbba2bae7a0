/** Writes an archive that the Linux kernel takes for its first file system: cpio, "new ASCII" (kernel's `initramfs buffer format`). */

export interface Entry {
  readonly path: string;
  /** Type and permissions, as of `stat`. */
  readonly mode: number;
  /** Of a file, or the target of a link. */
  readonly content?: Buffer;
  /** Of a device: major and minor number. */
  readonly device?: readonly [number, number];
}

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';

export function cpioArchive(entries: readonly Entry[]): Buffer {
  return Buffer.concat([...entries.map(entryOf), entryOf({ path: TRAILER, mode: 0 }, -1)]);
}

function entryOf({ path, mode, content = Buffer.alloc(0), device = [0, 0] }: Entry, index: number): Buffer {
  const name = Buffer.from(`${path}\0`);
  const numbers = [index + 1, mode, 0, 0, 1, 0, content.length, 0, 0, ...device, name.length, 0];
  const header = Buffer.from(MAGIC + numbers.map((value) => value.toString(16).padStart(8, '0')).join(''));
  return Buffer.concat([padded(Buffer.concat([header, name])), padded(content)]);
}

const padded = (data: Buffer): Buffer => Buffer.concat([data, Buffer.alloc((4 - (data.length % 4)) % 4)]);
