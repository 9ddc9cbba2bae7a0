/** Text for a terminal: tables that fit its width, and colours for important words. Other outputs get neither. */

/** Columns are at least this wide, characters. */
const NARROWEST = 8;
const GAP = 2;
const COLOURS: Readonly<Record<string, string>> = {
  Critical: '31',
  problem: '31',
  DIFFERENT: '31',
  Failed: '31',
  Warning: '33',
  warning: '33',
  Normal: '32',
  ok: '32',
};

export interface TerminalFormat {
  /** Infinite if the output is not a terminal. */
  readonly columns: number;
  readonly colour: boolean;
}

/** The format of standard output. */
export const outputFormat = ({ stdout } = process): TerminalFormat =>
  stdout.isTTY
    ? { columns: stdout.columns || Infinity, colour: stdout.hasColors() }
    : { columns: Infinity, colour: false };

/** Colours a word that names a health or state; other text stays unchanged. */
export function painted(word: string, { colour }: TerminalFormat): string {
  const code = COLOURS[word.trim()];
  return colour && code !== undefined ? word.replace(word.trim(), `\u001b[${code}m${word.trim()}\u001b[39m`) : word;
}

/**
 * Columns are as wide as their widest cell. If that is too wide, cells are broken between words, beginning with the
 * columns that have most text.
 */
export function tableText(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  format: TerminalFormat,
): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const least = header.map((_, column) =>
    Math.max(NARROWEST, ...all.flatMap((row) => (row[column] ?? '').split(' ').map((word) => word.length))),
  );
  shrink(widths, least, format.columns - GAP * (header.length - 1));
  return all
    .flatMap((row) => {
      const cells = widths.map((width, column) => broken(row[column] ?? '', width));
      const height = Math.max(...cells.map((lines) => lines.length));
      return Array.from({ length: height }, (_, line) =>
        cells
          .map((lines, column) => painted((lines[line] ?? '').padEnd(widths[column]!), format))
          .join(' '.repeat(GAP))
          .trimEnd(),
      );
    })
    .join('\n');
}

/** Narrows the widest column that can be narrowed, until the columns fit or none can. */
function shrink(widths: number[], least: readonly number[], room: number): void {
  for (let over = widths.reduce((sum, width) => sum + width, 0) - room; over > 0; over -= 1) {
    let widest = -1;
    for (const [column, width] of widths.entries()) {
      if (width > least[column]! && (widest < 0 || width > widths[widest]!)) widest = column;
    }
    if (widest < 0) return;
    widths[widest]! -= 1;
  }
}

/** Breaks only between words: a longer word may be copied by operators, so it stays whole. */
function broken(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.length > width ? text.split(' ') : [text]) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
