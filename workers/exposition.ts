/** The text in which Prometheus is told of measures, version 0.0.4. */
import type { Measure, Sample } from '../domain/measures.js';

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** A measure without samples is named all the same, so that it can be found. */
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

/** Metrics of ours without what the SDK's meters add to their labels: of each it says nothing that the others do not. */
export const withoutSdkLabels = (text: string): string =>
  text.replaceAll(SAMPLE, (_, name: string, labels: string, value: string) => {
    const kept = [...labels.matchAll(LABEL)].filter(([, label]) => !SDK_LABELS.has(label!)).map(([pair]) => pair);
    return `${name}{${kept.join(',')}} ${value}`;
  });
