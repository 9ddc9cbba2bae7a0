/** Divides the ranges of a change set into pieces that fit in memory, however long a source's ranges are. */
import { end, type Range } from '../domain/ranges.js';
import type { ChangeRange } from '../ports/change-source.js';
import { MAX_ROW_DATA } from './change-file.js';

/** The basis of one row of a change file: a part of a range, or a whole range without content. */
export interface ChangePiece {
  readonly range: ChangeRange;
  readonly part: Range;
}

/** Number of pieces in a range. */
export const piecesIn = ({ length, zero }: ChangeRange): number => (zero ? 1 : Math.ceil(length / MAX_ROW_DATA));

/** The piece of a range that begins at this offset. */
const pieceAt = (range: ChangeRange, offset: number): ChangePiece => {
  const left = end(range) - offset;
  if (range.zero || (left <= MAX_ROW_DATA && offset === range.offset)) return { range, part: range };
  return { range, part: { offset, length: Math.min(left, MAX_ROW_DATA) } };
};

/** Iterates over the pieces of a disk once, in batches. */
export class PieceCursor {
  readonly #batches: AsyncIterator<readonly ChangeRange[]>;
  #batch: readonly ChangeRange[] = [];
  #next = 0;
  /** Where the next piece begins within the next range; undefined for its beginning. */
  #offset: number | undefined;

  constructor(ranges: AsyncIterable<readonly ChangeRange[]>) {
    this.#batches = ranges[Symbol.asyncIterator]();
  }

  /** Yields the next pieces; the rest stay for the next call. */
  async *take(count: number): AsyncGenerator<ChangePiece, void, undefined> {
    for (let left = count; left > 0 && (await this.#isFilled());) {
      // Without awaiting: there are as many pieces as there are small writes.
      for (; left > 0 && this.#next < this.#batch.length; left -= 1) yield this.#step();
    }
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0 && (await this.#isFilled());) {
      for (; left > 0 && this.#next < this.#batch.length; left -= 1) this.#step();
    }
  }

  /** To be called when no more pieces are needed. */
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
