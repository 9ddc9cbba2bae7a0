/** What a bench finds out: figures, each with what it ought to be. */

export type Unit = 'ratio' | 'ms' | 'MiB' | 'count';

export interface Target {
  readonly bound: 'at least' | 'at most';
  /** In the figure's unit. */
  readonly value: number;
  /** False: an aim. Missing it is said, and is no failure. */
  readonly required: boolean;
}

export interface Figure {
  readonly name: string;
  readonly unit: Unit;
  /** One measurement each, in the order they were made. Their median is what targets are held against. */
  readonly samples: readonly number[];
  readonly targets: readonly Target[];
  /** Absolute figures behind it, for people. */
  readonly details: readonly string[];
}

/** A figure that could not be taken, as a program is missing. */
export interface Skipped {
  readonly name: string;
  readonly missing: string;
}

export type Outcome = Figure | Skipped;

export const isSkipped = (outcome: Outcome): outcome is Skipped => 'missing' in outcome;

export interface Bench {
  readonly name: string;
  readonly summary: string;
  /** Takes long: it is not run with the others. */
  readonly onlyWhenNamed?: true;
  /** @param say told what is being done. */
  run(say: (line: string) => void): Promise<Outcome[]>;
}

export const required = (bound: Target['bound'], value: number): Target => ({ bound, value, required: true });
export const aimed = (bound: Target['bound'], value: number): Target => ({ bound, value, required: false });

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export const isMet = (figure: Figure, { bound, value }: Target): boolean =>
  bound === 'at least' ? median(figure.samples) >= value : median(figure.samples) <= value;

/** Whether nothing that is required was missed. */
export const isGood = (outcome: Outcome): boolean =>
  isSkipped(outcome) || outcome.targets.every((target) => !target.required || isMet(outcome, target));
