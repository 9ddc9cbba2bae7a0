/**
 * What the command prints. Standard output carries the answer alone: text, or with --json one JSON value. Everything
 * said on the way goes to standard error.
 */
import { ANSWER_VERSION } from './answer-version.js';
import type { Answer, AnswerName, ErrorAnswer } from './answers.js';
import { outputFormat, tableText } from './terminal-text.js';

/** Whether the command that runs has given its answer; it gives one. */
let answered = false;

export class Output {
  constructor(private readonly json: boolean) {}

  /** For a process that runs one command after the other. */
  static begin(): void {
    answered = false;
  }

  /** An answer for programs in place of one that could not be given. */
  static error(value: ErrorAnswer): void {
    if (answered) return;
    answered = true;
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  }

  /** The answer; called once. @param name the command that answers, by which its schema is found. */
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

/** A line for the person who waits. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** As wide as it needs to be, and on a terminal no wider than that. */
export const table = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  tableText(header, rows, outputFormat());

/** `label  value` lines; what is undefined is left out, what has several lines is indented. */
export function fields(entries: readonly (readonly [label: string, value: string | undefined])[]): string {
  const shown = entries.filter((entry): entry is readonly [string, string] => entry[1] !== undefined);
  const width = Math.max(0, ...shown.map(([label]) => label.length));
  return shown.map(([label, value]) => `${label.padEnd(width)}  ${indent(value, width + 2)}`).join('\n');
}

const indent = (text: string, by: number): string => text.split('\n').join(`\n${' '.repeat(by)}`);
