import { expect, test } from 'vitest';
import { storyTable, webUiText } from '../../client/demo/demo-report.js';

const record = { planRun: 'plan/three-tier/1', vms: [{ name: 'db-01' }] };
const instance = {
  ...{ pid: 1, siteFile: '/site.yaml', vault: 'demo-vault', startedAt: '2026-01-01T00:00:00.000Z' },
  temporal: { address: '127.0.0.1:7233', namespace: 'farshore', uiUrl: 'http://127.0.0.1:8233' },
};

test('the demo prints an address only for a Web UI that is still running when the user reads it', () => {
  expect(webUiText(instance, record)).toContain('http://127.0.0.1:8233/namespaces/farshore/workflows');
  expect(webUiText(instance, record)).toContain('vm/demo-vault/db-01');
  for (const gone of ['ending', undefined] as const) expect(webUiText(gone, record)).not.toContain('http');
  expect(webUiText('ending', record)).toContain('npm run demo -- --keep');
});

test('the demo adds up both commits of a VM, and marks a step that was not as it should be', () => {
  const of = (step: 'commit' | 'failback', seconds: number, ok = true) => ({
    step,
    vm: 'db-01',
    ok,
    booted: true,
    seconds,
  });
  const story = [of('commit', 2), of('failback', 30, false), of('commit', 3)];
  const [header, row] = storyTable({ story, vms: [{ name: 'db-01' }] })
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ {2,}/));
  expect(header).toEqual(['VM', 'Test failover', 'Planned failover', 'Commit', 'Failback', 'Reverse replicate']);
  expect(row).toEqual(['db-01', '-', '-', '5 s', 'NOT OK, 30 s', '-']);
});
