/** Uses the whole terminal, redraws it in place, and restores it at the end. */
import type { ReadStream, WriteStream } from 'node:tty';

/** Terminal sequences that switch to the alternate screen without cursor and line wrap, and back. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l';
/** Terminals that support these show the text between them in one step; others ignore them. */
const BEGIN = '\u001b[?2026h';
const END = '\u001b[?2026l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

const CTRL_C = '\u0003';

export type ScreenOutput = Pick<WriteStream, 'columns' | 'rows' | 'write' | 'hasColors' | 'on' | 'off'>;
export type ScreenInput = Pick<ReadStream, 'isTTY' | 'setRawMode' | 'on' | 'off' | 'resume' | 'pause'>;

/** A terminal that does not know its size reports 0. */
const USUAL = { columns: 80, rows: 24 };

export class TerminalScreen {
  #entered = false;
  readonly #leave = () => this.leave();
  readonly #typed: (data: Buffer | string) => void;

  /** @param onQuit called when `q` or Ctrl-C was typed. @param onResize called when the drawn text no longer fits. */
  constructor(
    private readonly output: ScreenOutput,
    private readonly input: ScreenInput,
    onQuit: () => void,
    private readonly onResize: () => void,
  ) {
    this.#typed = (data) => {
      if (/[qQ]/.test(data.toString()) || data.toString().includes(CTRL_C)) onQuit();
    };
  }

  get format(): { columns: number; rows: number; colour: boolean } {
    const { columns, rows } = this.output;
    return { columns: columns || USUAL.columns, rows: rows || USUAL.rows, colour: this.output.hasColors() };
  }

  enter(): void {
    this.#entered = true;
    // Restores the terminal however the process ends: even then, writes to a terminal still complete.
    process.once('exit', this.#leave);
    this.output.on('resize', this.onResize);
    this.output.write(ENTER);
    if (!this.input.isTTY) return;
    // Typed characters must not appear between the drawn text. Ctrl-C is then an ordinary key.
    this.input.setRawMode(true);
    this.input.on('data', this.#typed);
    this.input.resume();
  }

  /** Draws over the previous text, so that nothing flickers. */
  draw(lines: readonly string[]): void {
    const text = lines.map((line) => line + CLEAR_LINE).join('\r\n');
    this.output.write(`${BEGIN}${HOME}${text}${CLEAR_BELOW}${END}`);
  }

  /** Has no effect if the screen was already left. */
  leave(): void {
    if (!this.#entered) return;
    this.#entered = false;
    process.off('exit', this.#leave);
    this.output.off('resize', this.onResize);
    if (this.input.isTTY) {
      this.input.setRawMode(false);
      this.input.off('data', this.#typed);
      this.input.pause();
    }
    this.output.write(LEAVE);
  }
}
