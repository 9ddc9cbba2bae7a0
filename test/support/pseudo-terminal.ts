/** A program in a terminal of its own, and what the terminal shows: enough of its language for a screen drawn from its top. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Of the alternate screen. */
export const ENTER = '\u001b[?1049h';
export const LEAVE = '\u001b[?1049l';
const HOME = '\u001b[H';
/** What the place where the tests run says of colours, which is not of this terminal: CI services set some of them. */
const COLOURS_ELSEWHERE = ['CI', 'FORCE_COLOR', 'NO_COLOR', 'NODE_DISABLE_COLORS', 'COLORTERM', 'TMUX'];

export class PseudoTerminal {
  /** All that was written to it. */
  written = '';
  readonly #ended: Promise<unknown>;

  private constructor(private readonly child: ChildProcess) {
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.written += text));
    this.#ended = once(child, 'exit');
  }

  /**
   * @param script of a shell; it may tell its settings, and process ids, before and after the program.
   * @param size columns and lines.
   */
  static start(
    script: string,
    folder: string,
    env: NodeJS.ProcessEnv,
    [columns, rows]: [number, number],
  ): PseudoTerminal {
    const command = `stty cols ${columns} rows ${rows}; echo "tty:$(tty)"; ${script}`;
    const own = Object.entries(env).filter(([name]) => !COLOURS_ELSEWHERE.includes(name));
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: folder,
      env: { ...Object.fromEntries(own), TERM: 'xterm-256color' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    return new PseudoTerminal(child);
  }

  /** The newest whole screen, without colours. */
  get screen(): string {
    const frames = this.written.split(HOME);
    const last = frames.length > 1 ? frames.at(-1)! : '';
    // eslint-disable-next-line no-control-regex
    return last.replace(/\u001b\[[?\d]*[A-Za-z]/g, '');
  }

  type(text: string): void {
    this.child.stdin!.write(text);
  }

  resize(columns: number, rows: number): void {
    const name = /tty:(\S+)/.exec(this.written)![1]!;
    execFileSync('stty', ['-F', name, 'cols', `${columns}`, 'rows', `${rows}`]);
  }

  /** @returns all that was written until the shell had ended. */
  async end(): Promise<string> {
    await this.#ended;
    return this.written;
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}
