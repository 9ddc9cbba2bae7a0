/** Asks before something that can't be taken back. */
import { createInterface } from 'node:readline/promises';
import { RefusedError } from '../errors.js';
import { note } from '../output.js';

/**
 * @param consequences what will happen, in a sentence or two.
 * @param yes `--yes` was given.
 * @throws RefusedError when the answer is no, or there is nobody to ask.
 */
export async function confirm(consequences: string, yes: boolean | undefined): Promise<void> {
  note(consequences);
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new RefusedError('this has to be confirmed, and there is no terminal to ask on: repeat it with --yes');
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Ctrl-C and Ctrl-D close it, and then the question would never be answered.
    const closed = new Promise<string>((resolve) => terminal.once('close', () => resolve('no')));
    const answer = await Promise.race([terminal.question('Go on? [y/N] '), closed]);
    if (!/^y(es)?$/i.test(answer.trim())) throw new RefusedError('not confirmed, nothing was done');
  } finally {
    terminal.close();
  }
}
