import { describe, expect, test } from 'vitest';
import { browserCommand } from '../../client/browser.js';
import { savedQueries, savedQuery } from '../../client/saved-queries.js';
import { detailsUrl, queryUrl, workflowsUrl, workflowUrl } from '../../client/web-ui-pages.js';

const ui = { uiUrl: 'http://127.0.0.1:8233', namespace: 'farshore' };

test('ids with slashes do not split the path, and need no quoting in a shell', () => {
  const jobId = 'job/db-01/planned-failover/20260301T123005Z';
  expect(workflowUrl(ui, jobId)).toBe(`${workflowsUrl(ui)}/job%2Fdb-01%2Fplanned-failover%2F20260301T123005Z`);
  expect(detailsUrl(ui, 'vm/v/db-01', 'r-1')).toBe(`${workflowsUrl(ui)}/vm%2Fv%2Fdb-01/r-1/user-metadata`);
  expect(workflowsUrl({ uiUrl: 'https://ui.example/temporal/', namespace: 'a b' })).toBe(
    'https://ui.example/temporal/namespaces/a%20b/workflows',
  );
  for (const name of Object.keys(savedQueries)) {
    const { query, title } = savedQuery(name, 'vault-1');
    const url = queryUrl(ui, query, title);
    expect(url.replace(/&savedQuery=/, '')).toMatch(/^[\w:/.?=%-]+$/);
    const { searchParams } = new URL(url);
    expect([searchParams.get('query'), searchParams.get('savedQuery')]).toEqual([query, title]);
    expect(query).toMatch(/^FarshoreVault = 'vault-1' AND .*ExecutionStatus = 'Running'$/);
  }
});

test('an unknown query is refused with a list of the known ones', () => {
  expect(() => savedQuery('toString', 'v')).toThrow(
    'there is no query toString; use one of: needs-attention, waiting-for-person, running-jobs, vault',
  );
});

describe('a browser is opened', () => {
  const url = 'http://127.0.0.1:1/x?a=1&b=2';
  const has = (program: string) => program === 'xdg-open';
  test.each([
    ['darwin', {}, { program: 'open', args: [url] }],
    ['win32', {}, { program: 'cmd', args: ['/c', 'start', '""', 'http://127.0.0.1:1/x?a=1^&b=2'] }],
    ['linux', { DISPLAY: ':0' }, { program: 'xdg-open', args: [url] }],
    ['linux', { WAYLAND_DISPLAY: 'wayland-0' }, { program: 'xdg-open', args: [url] }],
    ['linux', {}, undefined],
  ] as const)('on %s with %j', (platform, env, command) => {
    expect(browserCommand(url, { platform, env, has })).toEqual(command);
  });

  test('by no program if xdg-open is missing', () => {
    expect(browserCommand(url, { platform: 'linux', env: { DISPLAY: ':0' }, has: () => false })).toBeUndefined();
  });
});
