/** Figures as text, and as one JSON object. */
import { isGood, isMet, isSkipped, median, type Figure, type Outcome, type Target } from './figures.js';

/** Several lines: the figure with its targets, then its details. */
export function describe(outcome: Outcome): string {
  if (isSkipped(outcome)) return `${outcome.name}: skipped, ${outcome.missing} is not installed`;
  const { name, samples, targets, details } = outcome;
  const range = `min ${number(outcome, Math.min(...samples))}, max ${number(outcome, Math.max(...samples))}`;
  const head = `${name}: ${number(outcome, median(samples))} (${range}, n = ${samples.length})`;
  const verdicts = targets.map((target) => verdict(outcome, target));
  return [`${head}  ${verdicts.join('; ')}`, ...details.map((detail) => `    ${detail}`)].join('\n');
}

/** `ok` is false if a required target was missed. */
export const summarize = (outcomes: readonly Outcome[]) => ({
  ok: outcomes.every(isGood),
  skipped: outcomes.filter(isSkipped).map(({ name, missing }) => `${name}: ${missing}`),
  figures: outcomes
    .filter((outcome): outcome is Figure => !isSkipped(outcome))
    .map((figure) => ({
      name: figure.name,
      unit: figure.unit,
      median: median(figure.samples),
      min: Math.min(...figure.samples),
      max: Math.max(...figure.samples),
      samples: figure.samples,
      targets: figure.targets.map((target) => ({ ...target, met: isMet(figure, target) })),
      details: figure.details,
    })),
});

function verdict(figure: Figure, target: Target): string {
  const kind = target.required ? 'target' : 'aim';
  return `${kind} ${target.bound} ${number(figure, target.value)}: ${isMet(figure, target) ? 'met' : 'NOT MET'}`;
}

function number({ unit }: Figure, value: number): string {
  if (unit === 'ratio') return value.toFixed(2);
  if (unit === 'count') return `${Number(value.toFixed(1))}`;
  return unit === 'ms' ? `${value.toFixed(1)} ms` : `${value.toFixed(0)} MiB`;
}
