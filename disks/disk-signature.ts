/**
 * Recognizes disk files of other formats. If such a file were taken for a raw disk, the first write would destroy the
 * format's own structures.
 */
import type { FileHandle } from 'node:fs/promises';
import { readAt } from './positional-io.js';

const HEADER_BYTES = 512;

interface Signature {
  readonly format: string;
  readonly at: number;
  readonly bytes: Buffer;
}

const signature = (format: string, at: number, text: string): Signature => ({
  ...{ format, at },
  bytes: Buffer.from(text, 'latin1'),
});

const VHD = signature('VHD', 0, 'conectix');

const headers: readonly Signature[] = [
  signature('VHDX', 0, 'vhdxfile'),
  // A dynamic or differencing VHD; a fixed one has only its footer.
  VHD,
  signature('qcow2', 0, 'QFI\xfb'),
  signature('VMDK', 0, 'KDMV'),
  signature('VMDK', 0, 'COWD'),
  signature('VMDK', 0, '# Disk DescriptorFile'),
  signature('VDI', 64, '\x7f\x10\xda\xbe'),
];

/**
 * @param size of the file, bytes. @returns the format's name, or undefined if there is no signature. @throws the errno
 * of the file system.
 */
export async function signatureOf(file: FileHandle, size: number): Promise<string | undefined> {
  const header = await blockAt(file, 0, size);
  const found = headers.find(({ at, bytes }) => header.subarray(at, at + bytes.length).equals(bytes));
  if (found) return found.format;
  const last = await blockAt(file, Math.max(0, size - HEADER_BYTES), size);
  // Some older programs write a footer that is a byte shorter.
  return [0, 1].some((at) => last.subarray(at, at + VHD.bytes.length).equals(VHD.bytes)) ? VHD.format : undefined;
}

async function blockAt(file: FileHandle, offset: number, size: number): Promise<Buffer> {
  const block = Buffer.alloc(Math.min(HEADER_BYTES, size - offset));
  return block.subarray(0, await readAt(file, block, offset));
}
