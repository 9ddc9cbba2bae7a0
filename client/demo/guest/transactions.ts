/** Checks the file that a booted guest writes: a number in each line, and the digest of the line before. */
import { createHash } from 'node:crypto';

/** How much of a digest the guest writes, hex digits. */
const DIGITS = 16;

/** @returns the number of the last line, and what is wrong with the first line that is not as it must be. */
export function checkTransactions(text: string): { readonly last: number; readonly fault?: string } {
  const lines = text.split('\n');
  // Each line ends with a line break.
  if (lines.pop() !== '') return { last: lines.length, fault: `line ${lines.length + 1} is torn` };
  let before = '';
  for (const [index, line] of lines.entries()) {
    const digest = createHash('sha256').update(before).digest('hex').slice(0, DIGITS);
    if (line !== `${index + 1} ${digest}`) {
      return { last: index, fault: `line ${index + 1} is "${line}", expected "${index + 1} ${digest}"` };
    }
    before = `${line}\n`;
  }
  return { last: lines.length };
}
