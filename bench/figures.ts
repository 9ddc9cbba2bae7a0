/** The results of a bench: figures with their targets. */

export type Unit = 'ratio' | 'ms' | 'MiB' | 'count';

export interface Target {
  readonly bound: 'at least' | 'at most';
  /** In the figure's unit. */
  readonly value: number;
  /** False: an aim. Missing it is reported but is not a failure. */
  readonly required: boolean;
}

export interface Figure {
  readonly name: string;
  readonly unit: Unit;
  /** One measurement each, in the order in which they were made. Their median is compared with the targets. */
  readonly samples: readonly number[];
  readonly targets: readonly Target[];
  /** The absolute values behind the figure, for display. */
  readonly details: readonly string[];
}

/** A figure that could not be measured because a program is missing. */
export interface Skipped {
  readonly name: string;
  readonly missing: string;
}

export type Outcome = Figure | Skipped;

export const isSkipped = (outcome: Outcome): outcome is Skipped => 'missing' in outcome;

export interface Bench {
  readonly name: string;
  readonly summary: string;
  /** It takes long, so it runs only if it is named. */
  readonly onlyWhenNamed?: true;
  /** @param say called with what is being done. */
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

/** Whether no required target was missed. */
export const isGood = (outcome: Outcome): boolean =>
  isSkipped(outcome) || outcome.targets.every((target) => !target.required || isMet(outcome, target));
