/**
 * The command's output. Standard output carries only the answer: text, or with --json one JSON object. All other
 * messages go to standard error.
 */
import { ANSWER_VERSION } from './answer-version.js';
import type { Answer, AnswerName, ErrorAnswer } from './answers.js';
import { outputFormat, tableText } from './terminal-text.js';

/** Whether the running command has given its answer; it gives only one. */
let answered = false;

export class Output {
  constructor(private readonly json: boolean) {}

  /** For a process that runs several commands one after the other. */
  static begin(): void {
    answered = false;
  }

  /** An answer for scripts in place of one that could not be given. */
  static error(value: ErrorAnswer): void {
    if (answered) return;
    answered = true;
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  }

  /** Prints the answer; called once. @param name the command that answers; its schema is found by this name. */
  result<C extends AnswerName>(name: C, value: Answer<C>, text: string): void {
    answered = true;
    process.stdout.write(`${this.json ? JSON.stringify(versioned(name, value), null, 2) : text}\n`);
  }
}

/** The answer as it is printed. */
export const versioned = <C extends AnswerName>(name: C, value: Answer<C>): object => ({
  version: ANSWER_VERSION,
  answer: name,
  ...value,
});

/** A line for the operator who is waiting. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** As wide as its contents; on a terminal, at most as wide as the terminal. */
export const table = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  tableText(header, rows, outputFormat());

/** `label  value` lines. Undefined values are left out, and values of several lines are indented. */
export function fields(entries: readonly (readonly [label: string, value: string | undefined])[]): string {
  const shown = entries.filter((entry): entry is readonly [string, string] => entry[1] !== undefined);
  const width = Math.max(0, ...shown.map(([label]) => label.length));
  return shown.map(([label, value]) => `${label.padEnd(width)}  ${indent(value, width + 2)}`).join('\n');
}

const indent = (text: string, by: number): string => text.split('\n').join(`\n${' '.repeat(by)}`);
