/** The examples for Prometheus and Grafana, as Prometheus' own promtool takes them. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { dashboardQueries } from '../support/monitoring.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const folder = 'examples/monitoring';

test('the alert rules are valid, and fire when they should', { timeout: 120_000 }, async (context) => {
  requireReader('promtool', context);
  expect(await runReader('promtool', 'check', 'rules', `${folder}/rules.yaml`)).toMatch(/SUCCESS: \d+ rules found/);
  expect(await runReader('promtool', 'test', 'rules', `${folder}/rules.test.yaml`)).toMatch(/SUCCESS/);
});

test('each alert is shown to fire', async () => {
  const [rules, tests] = await Promise.all(
    ['rules.yaml', 'rules.test.yaml'].map((name) => readFile(`${folder}/${name}`, 'utf8')),
  );
  const alerts = [...rules!.matchAll(/- alert: (\w+)/g)].map(([, name]) => name!);
  expect(alerts.length).toBeGreaterThan(0);
  const fires = (name: string) => new RegExp(`alertname: ${name}\\n +eval_time: \\w+\\n +exp_alerts:\\n`).test(tests!);
  expect(alerts.filter((name) => !fires(name))).toEqual([]);
});

test("the dashboard's queries are valid", { timeout: 120_000 }, async (context) => {
  requireReader('promtool', context);
  const queries = await dashboardQueries();
  expect(queries.length).toBeGreaterThan(10);
  const rules = queries.map((query, index) => ({
    record: `query:${index}`,
    expr: query.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, '.*'),
  }));
  const file = path.join(await temporaryFolder(), 'queries.yaml');
  // JSON is YAML.
  await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
  expect(await runReader('promtool', 'check', 'rules', file)).toContain(`SUCCESS: ${queries.length} rules found`);
});

test('the panels of the dashboard have unique names and ids, and do not overlap', async () => {
  const { panels } = JSON.parse(await readFile(`${folder}/dashboard.json`, 'utf8')) as {
    panels: { id: number; title: string; gridPos: { x: number; y: number; w: number; h: number } }[];
  };
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)}/${y + Math.floor(cell / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  for (const { gridPos } of panels) expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
});
