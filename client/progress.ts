/**
 * The progress of the work that a command waits for, on standard error: on a terminal a bar for each machine; elsewhere
 * a line whenever the step changes or another tenth is done.
 */
import { formatBytes } from '../domain/bytes.js';

export interface Step {
  /** What is being done. */
  readonly name: string;
  readonly bytes?: { readonly bytesDone: number; readonly bytesTotal: number } | undefined;
  /** Additional information, such as a failed attempt or something that the step waits for. */
  readonly remark?: string | undefined;
  /** Identifies what the remark is about, if its text changes by itself, as that of a countdown does. */
  readonly remarkOf?: string | undefined;
}

/** Where progress is shown; a part of `process.stderr`. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const BAR_WIDTH = 24;
const DEFAULT_COLUMNS = 80;

export class Progress {
  readonly #steps = new Map<string, Step>();
  readonly #printed = new Map<string, string>();
  #drawnLines = 0;

  constructor(private readonly screen: Screen = process.stderr) {}

  /** @param key the name of the VM. */
  update(key: string, step: Step): void {
    if (this.screen.isTTY) {
      this.#steps.set(key, step);
      this.#draw();
      return;
    }
    const remark = step.remarkOf ?? step.remark ?? '';
    const news = [step.name, remark, step.bytes ? Math.floor(percentOf(step.bytes) / 10) : ''].join('\n');
    if (this.#printed.get(key) === news) return;
    this.#printed.set(key, news);
    this.screen.write(`${plainLine(key, step)}\n`);
  }

  /** Leaves the bars on the screen; later output goes below them. */
  close(): void {
    this.#drawnLines = 0;
    this.#steps.clear();
  }

  #draw(): void {
    // The width is 0 if the terminal does not know it.
    const columns = this.screen.columns || DEFAULT_COLUMNS;
    const width = Math.max(...[...this.#steps.keys()].map((key) => key.length));
    // A wrapped line would make the number of lines to go up wrong.
    const lines = [...this.#steps].map(([key, step]) => barLine(key.padEnd(width), step).slice(0, columns - 1));
    const up = this.#drawnLines > 0 ? `\u001b[${this.#drawnLines}A` : '';
    this.screen.write(up + lines.map((line) => `\r\u001b[2K${line}\n`).join(''));
    this.#drawnLines = lines.length;
  }
}

function plainLine(key: string, { name, bytes, remark }: Step): string {
  return `${key}: ${name}${bytes ? `, ${amount(bytes)}` : ''}${remark === undefined ? '' : `; ${remark}`}`;
}

function barLine(key: string, { name, bytes, remark }: Step): string {
  const done = bytes ? Math.round((percentOf(bytes) / 100) * BAR_WIDTH) : 0;
  const bar = bytes ? ` [${'#'.repeat(done)}${'.'.repeat(BAR_WIDTH - done)}] ${amount(bytes)}` : '';
  return `${key}${bar}  ${name}${remark === undefined ? '' : `; ${remark}`}`;
}

const amount = (bytes: NonNullable<Step['bytes']>): string =>
  `${percentOf(bytes)} % (${formatBytes(bytes.bytesDone)} of ${formatBytes(bytes.bytesTotal)})`;

const percentOf = ({ bytesDone, bytesTotal }: NonNullable<Step['bytes']>): number =>
  bytesTotal === 0 ? 100 : Math.min(100, Math.floor((bytesDone / bytesTotal) * 100));
