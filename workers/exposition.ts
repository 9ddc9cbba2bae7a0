/** Prometheus's text format for measures, version 0.0.4. */
import type { Measure, Sample } from '../domain/measures.js';

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** A measure without samples is listed as well, so that it can be found. */
export const exposition = (measures: readonly Measure[]): string =>
  measures
    .map(({ name, help, samples }) => {
      const head = [`# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`, `# TYPE ${name} gauge`];
      return [...head, ...samples.map((sample) => `${name}${labelText(sample)} ${sample.value}`), ''].join('\n');
    })
    .join('');

function labelText({ labels }: Sample): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

const escaped = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

const SAMPLE = /^(farshore_\w+)\{(.*)\} (\S+)$/gm;
const LABEL = /(\w+)="(?:[^"\\]|\\.)*"/g;
const SDK_LABELS: ReadonlySet<string> = new Set(['namespace', 'taskQueue', 'workflowType', 'activityType']);

/** Removes the labels that the SDK's meters add to our metrics: they contain nothing that the others do not. */
export const withoutSdkLabels = (text: string): string =>
  text.replaceAll(SAMPLE, (_, name: string, labels: string, value: string) => {
    const kept = [...labels.matchAll(LABEL)].filter(([, label]) => !SDK_LABELS.has(label!)).map(([pair]) => pair);
    return `${name}{${kept.join(',')}} ${value}`;
  });
