/** A whole terminal, drawn again and again in place, and given back as it was. */
import type { ReadStream, WriteStream } from 'node:tty';

/** Of the terminal's own language: the alternate screen without cursor and line wrap, and back. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l';
/** Terminals that support it show the text between the two in one step; others ignore it. */
const BEGIN = '\u001b[?2026h';
const END = '\u001b[?2026l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

const CTRL_C = '\u0003';

export type ScreenOutput = Pick<WriteStream, 'columns' | 'rows' | 'write' | 'hasColors' | 'on' | 'off'>;
export type ScreenInput = Pick<ReadStream, 'isTTY' | 'setRawMode' | 'on' | 'off' | 'resume' | 'pause'>;

/** A terminal that does not know its size says 0. */
const USUAL = { columns: 80, rows: 24 };

export class TerminalScreen {
  #entered = false;
  readonly #leave = () => this.leave();
  readonly #typed: (data: Buffer | string) => void;

  /**
   * @param onQuit `q` or Ctrl-C was typed
   * @param onResize what was drawn does not fit any more
   */
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
    // Whatever ends the process: what is written to a terminal then is still written.
    process.once('exit', this.#leave);
    this.output.on('resize', this.onResize);
    this.output.write(ENTER);
    if (!this.input.isTTY) return;
    // What is typed must not show up amidst of it; Ctrl-C is a key like others then.
    this.input.setRawMode(true);
    this.input.on('data', this.#typed);
    this.input.resume();
  }

  /** Over what was drawn before, so that nothing flickers. */
  draw(lines: readonly string[]): void {
    const text = lines.map((line) => line + CLEAR_LINE).join('\r\n');
    this.output.write(`${BEGIN}${HOME}${text}${CLEAR_BELOW}${END}`);
  }

  /** Does nothing when it was left already. */
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
