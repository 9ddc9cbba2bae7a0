/** Asks for confirmation before an operation that can't be undone. */
import { createInterface } from 'node:readline/promises';
import { RefusedError } from '../errors.js';
import { note } from '../output.js';

/**
 * @param consequences what will happen, in a sentence or two.
 * @param yes whether `--yes` was given.
 * @throws RefusedError if the answer is no or there is no terminal.
 */
export async function confirm(consequences: string, yes: boolean | undefined): Promise<void> {
  note(consequences);
  if (yes) return;
  const answer = await ask('Continue? [y/N] ', 're-run with --yes');
  if (!/^y(es)?$/i.test(answer)) throw new RefusedError('not confirmed; nothing was done');
}

/** A reason against the operation for one of the VMs, in a sentence. */
export interface Objection {
  readonly vm: string;
  readonly text: string;
}

/**
 * Like `confirm`, but if there are objections, the operator has to type the names of the VMs.
 * @param toDoIt such as "to fail over".
 * @throws RefusedError also if `--yes` was given without `--force`.
 */
export async function confirmAgainst(
  consequences: string,
  objections: readonly Objection[],
  toDoIt: string,
  { yes, force }: { readonly yes?: true; readonly force?: true },
): Promise<void> {
  const against = objections.map(({ text }) => text).join('\n');
  if (objections.length === 0 || (force && yes))
    return await confirm(`${consequences}${against && `\n${against}`}`, yes);
  // The better alternative comes on the last line, which is read first.
  if (yes) throw new RefusedError(`nothing was done; ${toDoIt} anyway, add --force to --yes\n${against}`);
  note(consequences);
  const names = objections.map(({ vm }) => vm).join(' ');
  const question = `${against}\nTo do it anyway, type ${names}: `;
  const answer = await ask(question, `to do it anyway, re-run with --yes --force\n${against}`);
  if (answer.split(/\s+/).join(' ') !== names) throw new RefusedError('not confirmed; nothing was done');
}

/**
 * For an operation that destroys data: the operator has to type the VM's name.
 * @throws RefusedError if the answer is another one or there is no terminal.
 */
export async function confirmByName(consequences: string, vm: string, yes: boolean | undefined): Promise<void> {
  note(consequences);
  if (yes) return;
  const answer = await ask(`To continue, type ${vm}: `, 're-run with --yes');
  if (answer !== vm) throw new RefusedError('not confirmed; nothing was done');
}

/** @param instead how to confirm without a terminal. */
async function ask(question: string, instead: string): Promise<string> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new RefusedError(`confirmation is needed, but there is no terminal to ask on: ${instead}`);
  }
  const lines = question.split('\n');
  const prompt = lines.pop()!;
  if (lines.length > 0) note(lines.join('\n'));
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Ctrl-C and Ctrl-D close the terminal; without this, the question would never be answered.
    const closed = new Promise<string>((resolve) => terminal.once('close', () => resolve('')));
    return (await Promise.race([terminal.question(prompt), closed])).trim();
  } finally {
    terminal.close();
  }
}
