/** Metrics as a worker tells them, and as the examples for Prometheus and Grafana name them. */
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What a worker has answered when it was asked for its metrics. */
export class Metrics {
  /** `counter`, `gauge` or `histogram`, by name. */
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly Sample[];

  constructor(text: string) {
    this.types = new Map([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, type]) => [name!, type!]));
    this.samples = text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
        if (name === undefined) throw new Error(`no sample: ${line}`);
        const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, of]) => [label!, of!] as const);
        return { name, labels: Object.fromEntries(pairs), value: Number(value) };
      });
  }

  static async of(url: string): Promise<Metrics> {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
    return new Metrics(await answer.text());
  }

  /** Samples of a metric that have these labels, among others. */
  all(name: string, labels: Readonly<Record<string, string>> = {}): Sample[] {
    return this.samples.filter(
      (sample) =>
        sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    );
  }

  /** Of the only sample; undefined when there is none. @throws when there are more. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.all(name, labels);
    if (found.length > 1) throw new Error(`${name} is there ${found.length} times: ${JSON.stringify(found)}`);
    return found[0]?.value;
  }

  /** By which a query may ask for them. */
  names(): string[] {
    return [...this.types].flatMap(([name, type]) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    );
  }
}

interface Rule {
  readonly expr: string;
  readonly record?: string;
}

export async function rules(): Promise<Rule[]> {
  const { groups } = parse(await readFile('examples/monitoring/rules.yaml', 'utf8')) as { groups: { rules: Rule[] }[] };
  return groups.flatMap((group) => group.rules);
}

/** Those of the panels. */
export async function dashboardQueries(): Promise<string[]> {
  const { panels } = await dashboard();
  return panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
}

/** Those of the variables, as `label_values(metric{...}, label)`. */
export async function dashboardVariables(): Promise<string[]> {
  const { templating } = await dashboard();
  return templating.list.flatMap(({ definition }) => (definition === undefined ? [] : [definition]));
}

async function dashboard() {
  return JSON.parse(await readFile('examples/monitoring/dashboard.json', 'utf8')) as {
    panels: { targets: { expr: string }[] }[];
    templating: { list: { definition?: string }[] };
  };
}

/** Words of PromQL that are followed by a parenthesis, or stand alone. */
const words =
  /^(?:by|on|and|or|unless|ignoring|without|group_left|group_right|bool|offset|label_values|count|max|min|sum|time|vector|rate|increase|last_over_time|histogram_quantile)$/;

/** Every metric that a query names. */
export function metricsOf(query: string): string[] {
  const bare = query
    .replaceAll(/\{[^}]*\}/g, ' ')
    .replaceAll(/\[[^\]]*\]/g, ' ')
    .replaceAll(/\b(?:by|on|ignoring|without)\s*\([^)]*\)/g, ' ')
    .replaceAll(/,\s*(?:vault|vm)\s*\)$/g, ')');
  return [...new Set(bare.match(/[A-Za-z_][\w:]*/g) ?? [])].filter((word) => !words.test(word));
}
