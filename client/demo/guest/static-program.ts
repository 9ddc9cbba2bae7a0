/** Whether a program runs in a guest that has nothing else: for x86-64, and without an interpreter to load libraries. */
import { open } from 'node:fs/promises';

const MAGIC = 0x7f454c46;
const X86_64 = 62;
const INTERPRETER = 3;
/** The headers are at the beginning. */
const HEAD_BYTES = 8192;

/** @returns false also if there is no such program. */
export async function isStaticProgram(file: string): Promise<boolean> {
  const elf = await headOf(file);
  if (elf.readUInt32BE(0) !== MAGIC || elf.readUInt16LE(18) !== X86_64) return false;
  const [headers, size, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(54), elf.readUInt16LE(56)];
  const types = Array.from({ length: count }, (_, index) => elf.readUInt32LE(headers + index * size));
  return !types.includes(INTERPRETER);
}

/** Zeroes behind the end of the file. */
async function headOf(file: string): Promise<Buffer> {
  const head = Buffer.alloc(HEAD_BYTES);
  const handle = await open(file, 'r').catch(() => undefined);
  await handle?.read(head, 0, HEAD_BYTES, 0);
  await handle?.close();
  return head;
}
