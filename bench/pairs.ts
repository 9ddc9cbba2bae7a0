/**
 * Measures two ways of doing the same in alternation. The machine's speed changes from minute to minute, but two
 * measurements within the same seconds can be compared.
 */
import { median } from './figures.js';

export interface Pair {
  readonly ours: number;
  readonly peer: number;
}

/** Number of measured pairs; one pair runs before them, so that caches are warm for both. */
const PAIRS = 5;

/**
 * @param ours,
 * @param peer do the work once and return the figure. The order changes with every pair.
 * @returns one entry per pair.
 */
export async function measurePairs(
  ours: () => Promise<number>,
  peer: () => Promise<number>,
  say: (line: string) => void,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let round = 0; round <= PAIRS; round += 1) {
    let pair: Pair;
    if (round % 2 === 0) {
      const first = await ours();
      pair = { ours: first, peer: await peer() };
    } else {
      const first = await peer();
      pair = { ours: await ours(), peer: first };
    }
    say(`${round === 0 ? 'warm-up' : `pair ${round}`}: ours ${pair.ours.toFixed(2)}, peer ${pair.peer.toFixed(2)}`);
    if (round > 0) pairs.push(pair);
  }
  return pairs;
}

/** For display: `median 1.20 s (1.10 to 1.40)`. */
export function spread(samples: readonly number[], unit: string, digits = 2): string {
  const [low, high] = [Math.min(...samples), Math.max(...samples)].map((value) => value.toFixed(digits));
  return `median ${median(samples).toFixed(digits)} ${unit} (${low} to ${high})`;
}
