import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { recoveryPlanSchema } from '../../domain/plan.js';
import { checkSite } from '../../domain/site-checks.js';
import { siteSchema } from '../../domain/site.js';
import { DocumentError, readDocument } from '../../config/document.js';

function errorOf(text: string, schema: z.ZodType = siteSchema): DocumentError {
  try {
    readDocument(
      text,
      'file.yaml',
      schema,
      schema === siteSchema ? (site) => checkSite(siteSchema.parse(site)) : undefined,
    );
  } catch (error) {
    if (error instanceof DocumentError) return error;
    throw error;
  }
  throw new Error('the document was accepted');
}

/** A site file that is in order, with its lines changed. */
function site(change: (lines: string[]) => string[]): string {
  return change(SITE.split('\n')).join('\n');
}
const SITE = `vault:
  name: v
  store:
    kind: embedded
    path: store
vmmServers:
  - name: vmm
    clouds:
      - name: cloud
        hosts:
          - name: h1
vms:
  - name: a
    host: h1
    generation: 2
    disks:
      - name: os
        path: a.raw
        size: 1024`;

const replace = (line: number, text: string) =>
  site((lines) => lines.map((old, index) => (index === line - 1 ? text : old)));
const remove = (line: number) => site((lines) => lines.filter((_, index) => index !== line - 1));

test('the site file that the tests below change is valid', () => {
  expect(readDocument(SITE, 'file.yaml', siteSchema, checkSite).value.vms[0]?.name).toBe('a');
});

describe('an error has line, path, value and remedy', () => {
  test.each<
    [what: string, text: string, line: number, path: string, problem: RegExp, value: string | undefined, remedy: RegExp]
  >([
    ['a field that is missing', remove(14), 13, 'vms[0].host', /required; expected text/, undefined, /add the field/],
    [
      'a field of the wrong type',
      replace(14, '    host: [h1]'),
      14,
      'vms[0].host',
      /^expected text/,
      '["h1"]',
      /correct/,
    ],
    [
      'a field without a value',
      replace(14, '    host:'),
      14,
      'vms[0].host',
      /is empty; expected text/,
      'null',
      /give it a value/,
    ],
    ['a misspelt field', replace(14, '    hots: h1'), 14, 'vms[0].hots', /unknown field/, '"h1"', /spelling/],
    [
      'a field too many',
      site((lines) => [...lines, '        color: red']),
      20,
      'vms[0].disks[0].color',
      /unknown field/,
      '"red"',
      /remove the field/,
    ],
    [
      'a field too many, with nested fields',
      site((lines) => [...lines, 'extra:', '  a: 1']),
      20,
      'extra',
      /unknown field/,
      '{"a":1}',
      /spelling/,
    ],
    [
      'a choice of numbers',
      replace(15, '    generation: 3'),
      15,
      'vms[0].generation',
      /^expected one of: 1, 2/,
      '3',
      /correct/,
    ],
    [
      'a choice of kinds',
      replace(4, '    kind: cloudy'),
      4,
      'vault.store.kind',
      /^expected one of: embedded, azure/,
      '"cloudy"',
      /correct/,
    ],
    [
      'a choice that is missing',
      remove(4),
      3,
      'vault.store.kind',
      /required; expected one of: embedded/,
      undefined,
      /add/,
    ],
    [
      'a size that is no number',
      replace(19, '        size: 10G'),
      19,
      'vms[0].disks[0].size',
      /^expected a number/,
      '"10G"',
      /correct/,
    ],
    [
      'a size in half sectors',
      replace(19, '        size: 1000'),
      19,
      'vms[0].disks[0].size',
      /multiple of 512/,
      '1000',
      /correct/,
    ],
    [
      'a name that could be a path',
      replace(13, '  - name: ../a'),
      13,
      'vms[0].name',
      /letters, digits/,
      '"../a"',
      /correct/,
    ],
    [
      'a name that is too long',
      replace(13, `  - name: ${'x'.repeat(64)}`),
      13,
      'vms[0].name',
      /63/,
      `"${'x'.repeat(64)}"`,
      /correct/,
    ],
    [
      'a list that is empty',
      site((lines) => [...lines.slice(0, 15), '    disks: []']),
      16,
      'vms[0].disks',
      /1/,
      '[]',
      /correct/,
    ],
    [
      'a reference that leads nowhere',
      replace(14, '    host: h2'),
      14,
      'vms[0].host',
      /unknown host/,
      '"h2"',
      /one of: h1/,
    ],
  ])('%s', (_what, text, line, path, problem, value, remedy) => {
    const error = errorOf(text);
    expect({ line: error.line, path: error.path, value: error.value }).toEqual({ line, path, value });
    expect(error.problem).toMatch(problem);
    expect(error.remedy).toMatch(remedy);
    expect(error.message).toContain(`file.yaml:${line}: ${path}: `);
  });

  test('only the first error is reported', () => {
    expect(errorOf(site((lines) => lines.filter((line) => !/host: h1|path: a.raw/.test(line)))).path).toBe(
      'vms[0].host',
    );
  });

  test('a long value is truncated', () => {
    const error = errorOf(`name: p\ngroups: ${'x'.repeat(500)}`, recoveryPlanSchema);
    expect(error.value?.length).toBe(80);
  });
});

describe('a file that is not a YAML document of fields', () => {
  test.each([
    ['broken syntax', 'vault:\n  name: [v\nvmm: 1', /./, 3],
    ['a field given twice', 'vault: 1\nvault: 2', /appears twice/, 2],
    ['an alias without anchor', 'vault: *nowhere', /nowhere/, 1],
    ['nothing', '', /nested fields/, 1],
    ['only text', 'hello', /nested fields/, 1],
    ['an alias of what it stands in', 'vault: 1\nvms: &a [*a]', /\*a refers to a value that contains it/, 2],
    [
      'an alias around a corner of what it stands in',
      'vms: &a\n  - b: &b { c: *a }',
      /\*a refers to a value that contains it/,
      2,
    ],
    ['several documents', 'vault: 1\n---\nvault: 2', /a second YAML document begins/, 2],
    ['a merge of what has no fields', 'vault:\n  <<: 1', /merge/i, 1],
    ['brackets without end', '['.repeat(100_000), /./, 1],
  ])('%s', (_what, text, problem, line) => {
    const error = errorOf(text);
    expect(error.problem).toMatch(problem);
    expect(error.line).toBe(line);
  });
});

test('names that differ only in case count as the same name', () => {
  const vm = (name: string) => [
    `  - name: ${name}`,
    '    host: h1',
    '    disks:',
    `      - { name: os, path: ${name} }`,
  ];
  const error = errorOf(site((lines) => [...lines.slice(0, 12), ...vm('db-01'), ...vm('DB-01')]));
  expect(error).toMatchObject({ path: 'vms[1].name', line: 17 });
  expect(error.problem).toBe('this name differs only in case from that of another VM, db-01');
  const hosts = errorOf(site((lines) => [...lines.slice(0, 11), '          - name: H1', ...lines.slice(11)]));
  expect(hosts.problem).toBe('this name differs only in case from that of another host, h1');
});

describe('anchors and aliases', () => {
  const manyVms = (count: number) =>
    site((lines) => [
      ...lines.slice(0, 12),
      ...Array.from({ length: count }, (_, index) => [
        `  - name: vm-${index}`,
        '    host: *host',
        '    disks:',
        `      - { name: os, path: ${index}.raw }`,
      ]).flat(),
    ]).replace('- name: h1', '- name: &host h1');

  test('may be as many as there are VMs', () => {
    const { vms } = readDocument(manyVms(300), 'file.yaml', siteSchema, checkSite).value;
    expect(vms).toHaveLength(300);
    expect(vms[299]?.host).toBe('h1');
  });

  test('may share fields by a merge, which neighboring fields override', () => {
    const text = site((lines) => [
      ...lines.slice(0, 12),
      '  - &vm { name: a, host: h1, generation: 1, disks: [{ name: os, path: a.raw }] }',
      '  - { <<: *vm, name: b, disks: [{ name: os, path: b.raw }] }',
    ]);
    const { vms } = readDocument(text, 'file.yaml', siteSchema, checkSite).value;
    expect(vms.map(({ name, generation }) => `${name} ${generation}`)).toEqual(['a 1', 'b 1']);
  });

  test('that expand to far more than a file can hold are refused', () => {
    const levels = ['a: &l0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let level = 1; level < 9; level += 1) {
      levels.push(`b${level}: &l${level} [${Array.from({ length: 10 }, () => `*l${level - 1}`).join(', ')}]`);
    }
    const error = errorOf(levels.join('\n'));
    expect(error.problem).toMatch(/aliases expand to more than 1,000,000 values/);
    expect(error.line).toBeGreaterThan(4);
  });
});

test('a file with very many fields is checked like any other', { timeout: 60_000 }, () => {
  const fields = Array.from({ length: 200_000 }, (_, index) => `k${index}: 1`).join('\n');
  expect(errorOf(fields).problem).toBe('unknown field');
});

describe('an invalid policy', () => {
  const withPolicy = (line: string) => site((lines) => [...lines, 'policies:', '  - name: gold', `    ${line}`]);
  test.each([
    ['recoveryPointRetentionHours: -1', 'recoveryPointRetentionHours', /^expected a number of at least 0/, '-1'],
    ['recoveryPointRetentionHours: 25', 'recoveryPointRetentionHours', /^expected a number of at most 24/, '25'],
    ['recoveryPointRetentionHours: 1.5', 'recoveryPointRetentionHours', /^expected a whole number/, '1.5'],
    ['recoveryPointRetentionHours: two', 'recoveryPointRetentionHours', /^expected a number/, '"two"'],
    ['copyFrequency: 1m', 'copyFrequency', /^expected one of: 30s, 5m, 15m/, '"1m"'],
    ['copyFrequency: 300', 'copyFrequency', /^expected one of: 30s, 5m, 15m/, '300'],
    ['frequency: 5m', 'frequency', /^unknown field/, '"5m"'],
  ])('%s is refused with path, value and remedy', (line, field, problem, value) => {
    const error = errorOf(withPolicy(line));
    expect(error).toMatchObject({ path: `policies[0].${field}`, value, line: 22 });
    expect(error.problem).toMatch(problem);
    expect(error.remedy).not.toBe('');
  });
});

describe('an invalid host', () => {
  const withHost = (line: string) =>
    site((lines) => [...lines.slice(0, 11), `            ${line}`, ...lines.slice(11)]);
  const hours = (more: string) => `bandwidth: { workHours: { from: '08:00', to: '18:00', limit: 1 Mbit/s, ${more} } }`;
  const WORK = 'bandwidth.workHours';
  test.each<[line: string, field: string, problem: RegExp, value: string | undefined, remedy: RegExp]>([
    ['bandwidth: { limit: -5 Mbit/s }', 'bandwidth.limit', /a rate such as 50 Mbit/, '"-5 Mbit/s"', /correct/],
    ['bandwidth: { limit: 0 Mbit/s }', 'bandwidth.limit', /at least 64 kbit/, '"0 Mbit/s"', /correct/],
    ['bandwidth: { limit: 50 MB/s }', 'bandwidth.limit', /in kbit\/s, Mbit\/s or Gbit\/s/, '"50 MB/s"', /correct/],
    ['bandwidth: { limit: 50 }', 'bandwidth.limit', /^expected text/, '50', /correct/],
    ['bandwidth: {}', 'bandwidth', /expected limit, workHours or both/, '{}', /correct/],
    [
      "bandwidth: { workHours: { from: '08:00', to: '18:00' } }",
      `${WORK}.limit`,
      /required/,
      undefined,
      /add the field/,
    ],
    [hours("to: '08:00'").replace(" to: '18:00',", ''), `${WORK}.to`, /working hours are empty/, '"08:00"', /correct/],
    [
      hours("from: '8 am'").replace(" from: '08:00',", ''),
      `${WORK}.from`,
      /a time of day such as/,
      '"8 am"',
      /correct/,
    ],
    [hours('days: [mon, someday]'), `${WORK}.days[1]`, /^expected one of: mon, .*, sun/, '"someday"', /correct/],
    [hours('days: []'), `${WORK}.days`, /at least one day/, '[]', /correct/],
    [
      hours('timeZone: Mars/Olympus'),
      `${WORK}.timeZone`,
      /unknown time zone.*Europe\/Paris/,
      '"Mars/Olympus"',
      /correct/,
    ],
    ['concurrentCopies: 0', 'concurrentCopies', /^expected a number of at least 1/, '0', /correct/],
    ['concurrentCycles: 65', 'concurrentCycles', /^expected a number of at most 64/, '65', /correct/],
    ['concurrentCycles: 1.5', 'concurrentCycles', /^expected a whole number/, '1.5', /correct/],
  ])('%s is refused with path, value and remedy', (line, field, problem, value, remedy) => {
    const error = errorOf(withHost(line));
    expect(error).toMatchObject({ path: `vmmServers[0].clouds[0].hosts[0].${field}`, line: 12 });
    expect(error.value).toBe(value);
    expect(error.problem).toMatch(problem);
    expect(error.remedy).toMatch(remedy);
  });
});

test.each(['ftp://x.example/', 'no address'])('%s is not a valid webhook', (value) => {
  const error = errorOf(site((lines) => [...lines, 'alerts:', `  webhook: ${value}`]));
  expect(error).toMatchObject({ path: 'alerts.webhook', line: 21 });
  expect(error.problem).toMatch(/expected an http or https address/);
});
