/**
 * What the command prints. Standard output carries the answer alone: text, or with --json one JSON value. Everything
 * said on the way goes to standard error.
 */

export class Output {
  constructor(private readonly json: boolean) {}

  /** The answer; called once. */
  result(value: unknown, text: string): void {
    process.stdout.write(`${this.json ? JSON.stringify(value, null, 2) : text}\n`);
  }
}

/** A line for the person who waits. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Columns as wide as their widest cell. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    widths
      .map((width, column) => (cells[column] ?? '').padEnd(width))
      .join('  ')
      .trimEnd();
  return [header, ...rows].map(line).join('\n');
}

/** `label  value` lines; what is undefined is left out, what has several lines is indented. */
export function fields(entries: readonly (readonly [label: string, value: string | undefined])[]): string {
  const shown = entries.filter((entry): entry is readonly [string, string] => entry[1] !== undefined);
  const width = Math.max(0, ...shown.map(([label]) => label.length));
  return shown.map(([label, value]) => `${label.padEnd(width)}  ${indent(value, width + 2)}`).join('\n');
}

const indent = (text: string, by: number): string => text.split('\n').join(`\n${' '.repeat(by)}`);
