/**
 * The ranges of a change set, as the engine works with them: in pieces that it can hold in memory, however long the ranges
 * of a source are.
 */
import { end, type Range } from '../domain/ranges.js';
import type { ChangeRange } from '../ports/change-source.js';
import { MAX_ROW_DATA } from './change-file.js';

/** What one row of a change file is made of: a part of a range, or all of one without content. */
export interface ChangePiece {
  readonly range: ChangeRange;
  readonly part: Range;
}

/** Pieces that a range is cut into. */
export const piecesIn = ({ length, zero }: ChangeRange): number => (zero ? 1 : Math.ceil(length / MAX_ROW_DATA));

/** The piece of a range that begins there. */
const pieceAt = (range: ChangeRange, offset: number): ChangePiece => {
  const left = end(range) - offset;
  if (range.zero || (left <= MAX_ROW_DATA && offset === range.offset)) return { range, part: range };
  return { range, part: { offset, length: Math.min(left, MAX_ROW_DATA) } };
};

/** Goes through the pieces of a disk once, some at a time. */
export class PieceCursor {
  readonly #batches: AsyncIterator<readonly ChangeRange[]>;
  #batch: readonly ChangeRange[] = [];
  #next = 0;
  /** Where the next piece of the next range begins; undefined: where the range does. */
  #offset: number | undefined;

  constructor(ranges: AsyncIterable<readonly ChangeRange[]>) {
    this.#batches = ranges[Symbol.asyncIterator]();
  }

  /** The next few; the others stay for whoever asks next. */
  async *take(count: number): AsyncGenerator<ChangePiece, void, undefined> {
    for (let left = count; left > 0 && (await this.#isFilled());) {
      // Without waiting: there are as many pieces as there are small writes.
      for (; left > 0 && this.#next < this.#batch.length; left -= 1) yield this.#step();
    }
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0 && (await this.#isFilled());) {
      for (; left > 0 && this.#next < this.#batch.length; left -= 1) this.#step();
    }
  }

  /** Nobody asks any more. */
  async close(): Promise<void> {
    await this.#batches.return?.();
  }

  async #isFilled(): Promise<boolean> {
    while (this.#next === this.#batch.length) {
      const { done, value } = await this.#batches.next();
      if (done) return false;
      this.#batch = value;
      this.#next = 0;
    }
    return true;
  }

  #step(): ChangePiece {
    const range = this.#batch[this.#next]!;
    const piece = pieceAt(range, this.#offset ?? range.offset);
    const stop = end(piece.part);
    this.#offset = stop < end(range) ? stop : undefined;
    if (this.#offset === undefined) this.#next += 1;
    return piece;
  }
}
