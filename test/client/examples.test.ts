import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { recoveryPlanSchema } from '../../domain/plan.js';
import { siteSchema } from '../../domain/site.js';
import { loadPlan, loadSite } from '../../config/site-file.js';

test('the example site file and plan are valid', async () => {
  const { site } = await loadSite('examples/site.yaml', { disks: false });
  const plan = await loadPlan('examples/plan.yaml', site);
  expect(site.vms.map(({ name }) => name)).toEqual(['db-01', 'web-01']);
  expect(plan.groups.map(({ vms }) => vms)).toEqual([['db-01'], ['web-01']]);
});

test.each<[file: string, schema: z.ZodType]>([
  ['examples/site.yaml', siteSchema],
  ['examples/plan.yaml', recoveryPlanSchema],
])('%s shows every field there is', async (file, schema) => {
  const text = await readFile(file, 'utf8');
  const missing = fieldsOf(z.toJSONSchema(schema, { io: 'input' })).filter(
    (field) => !new RegExp(`\\b${field}:`).test(text),
  );
  expect(missing).toEqual([]);
});

/** Names of all fields, at any depth of a JSON schema. */
function fieldsOf(schema: unknown): string[] {
  if (schema === null || typeof schema !== 'object') return [];
  const { properties } = schema as { properties?: Record<string, unknown> };
  const names = properties ? Object.keys(properties) : [];
  return [...new Set([...names, ...Object.values(schema).flatMap(fieldsOf)])];
}
