/** `status --watch`: shows the vault until it is stopped, even if Temporal goes away in the meantime. */
import { setTimeout as sleep } from 'node:timers/promises';
import { UnreachableError } from '../errors.js';
import { boardOf, type Heard } from '../../domain/board.js';
import { versioned } from '../output.js';
import { renderSnapshot, type Snapshot } from './render.js';
import { TerminalScreen } from './terminal-screen.js';

/** The shown ages are updated this often, ms. */
const DRAW_EVERY_MS = 1_000;
/** For output that is not a terminal. */
const UNLIMITED = { columns: Infinity, colour: false };

export interface Watched {
  readonly vault: string;
  /** @throws UnreachableError if there is no answer now. */
  read(): Promise<Heard>;
}

export interface WatchOptions {
  readonly intervalMs: number;
  readonly json: boolean;
  /** Stops the watch when it is aborted. */
  readonly signal: AbortSignal;
}

/** The newest data, and why the newest request was not answered. */
class Latest {
  #heard: { readonly heard: Heard; readonly at: string } | undefined;
  #problem: string | undefined;

  constructor(private readonly source: Watched) {}

  /** @throws errors that do not mean that Temporal is away. */
  async ask(): Promise<void> {
    try {
      this.#heard = { heard: await this.source.read(), at: new Date().toISOString() };
      this.#problem = undefined;
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error;
      this.#problem = error.message;
    }
  }

  /** Undefined until there is something to show. */
  snapshot(): Snapshot | undefined {
    const at = new Date().toISOString();
    if (!this.#heard && this.#problem === undefined) return undefined;
    const { heard, at: heardAt } = this.#heard ?? {};
    const known = heard ? boardOf(heard, at) : nothingHeard(this.source.vault, at);
    if (this.#problem === undefined) return known;
    return { ...known, stale: { message: this.#problem, ...(heardAt !== undefined && { heardAt }) } };
  }
}

/** Nothing is known, not even whether anything needs attention. */
const nothingHeard = (vault: string, at: string): Snapshot => ({
  at,
  vault,
  health: 'Critical',
  vms: [],
  hosts: [],
  jobs: [],
  attention: [],
});

/**
 * Resolves when the signal is aborted. Restores the terminal in any case.
 * @throws errors that do not mean that Temporal is away.
 */
export async function watchStatus(source: Watched, options: WatchOptions): Promise<void> {
  const { stdout, stdin } = process;
  const latest = new Latest(source);
  if (options.json || !stdout.isTTY) return await print(latest, options);
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const draw = () => {
    const snapshot = latest.snapshot();
    const lines = snapshot ? renderSnapshot(snapshot, screen.format) : [`Vault ${source.vault}: asking Temporal`];
    screen.draw(lines);
  };
  const screen: TerminalScreen = new TerminalScreen(stdout, stdin, () => stop.abort(), draw);
  screen.enter();
  draw();
  const drawing = setInterval(draw, DRAW_EVERY_MS);
  try {
    await untilAborted(signal, async () => {
      await latest.ask();
      draw();
      await sleep(options.intervalMs, undefined, { signal });
    });
  } finally {
    clearInterval(drawing);
    screen.leave();
  }
}

/** Prints a block of text each time, or with --json one object per line. */
async function print(latest: Latest, { json, intervalMs, signal }: WatchOptions): Promise<void> {
  await untilAborted(signal, async () => {
    await latest.ask();
    const snapshot = latest.snapshot()!;
    process.stdout.write(
      json
        ? `${JSON.stringify(versioned('status --watch', snapshot))}\n`
        : `${renderSnapshot(snapshot, UNLIMITED).join('\n')}\n\n`,
    );
    await sleep(intervalMs, undefined, { signal });
  });
}

/** Does not wait for a pending request. */
async function untilAborted(signal: AbortSignal, round: () => Promise<void>): Promise<void> {
  const aborted = new Promise<'aborted'>((resolve) => {
    if (signal.aborted) resolve('aborted');
    signal.addEventListener('abort', () => resolve('aborted'), { once: true });
  });
  while (!signal.aborted) {
    const ended = round().catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    await Promise.race([ended, aborted]);
  }
}
