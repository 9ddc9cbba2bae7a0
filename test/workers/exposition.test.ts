import { describe, expect, test } from 'vitest';
import { exposition, withoutSdkLabels } from '../../workers/exposition.js';

test('measures as Prometheus reads them', () => {
  const text = exposition([
    { name: 'farshore_a', help: 'One\nof \\ them', samples: [{ labels: { vm: 'a"b\\c\n', kind: 'x' }, value: 1.5 }] },
    { name: 'farshore_b', help: 'No labels', samples: [{ labels: {}, value: 0 }] },
    { name: 'farshore_c', help: 'None yet', samples: [] },
  ]);
  expect(text).toBe(
    [
      '# HELP farshore_a One\\nof \\\\ them',
      '# TYPE farshore_a gauge',
      'farshore_a{vm="a\\"b\\\\c\\n",kind="x"} 1.5',
      '# HELP farshore_b No labels',
      '# TYPE farshore_b gauge',
      'farshore_b 0',
      '# HELP farshore_c None yet',
      '# TYPE farshore_c gauge',
      '',
    ].join('\n'),
  );
});

describe("what the SDK's meters add", () => {
  test.each([
    ['farshore_x_total{namespace="n",taskQueue="q",vm="a",workflowType="t"} 3', 'farshore_x_total{vm="a"} 3'],
    ['farshore_d_bucket{activityType="a",kind="k",namespace="n",le="0.5"} 1', 'farshore_d_bucket{kind="k",le="0.5"} 1'],
    ['farshore_y{vm="a\\"},namespace=\\"b",namespace="n"} 1', 'farshore_y{vm="a\\"},namespace=\\"b"} 1'],
    ['temporal_x_total{namespace="n",task_queue="q"} 3', 'temporal_x_total{namespace="n",task_queue="q"} 3'],
    ['# HELP farshore_x_total {namespace="n"} 1', '# HELP farshore_x_total {namespace="n"} 1'],
  ])('%s', (before, after) => {
    expect(withoutSdkLabels(`${before}\n${before}\n`)).toBe(`${after}\n${after}\n`);
  });
});
