import { describe, expect, it } from 'vitest';
import { hostWatchId, jobId, planRunId, protectedItemId } from '../../domain/ids.js';
import { fieldsOfInput, fieldsOfWorkflow } from '../../domain/work-fields.js';

const at = '2026-03-01T12:30:05.123Z';

describe('the work fields of a workflow, from its id', () => {
  const job = jobId('v-1', 'db-01', 'plannedFailover', at, 0);
  const plan = planRunId('v-1', 'shop', at);
  it.each<[string, object]>([
    [protectedItemId('v-1', 'db-01'), { vault: 'v-1', vm: 'db-01' }],
    [job, { vault: 'v-1', vm: 'db-01', job }],
    ['job/db-01/verify-replica/20260301T123005Z', { vm: 'db-01', job: 'job/db-01/verify-replica/20260301T123005Z' }],
    [hostWatchId('v-1', 'hv-01'), { vault: 'v-1', host: 'hv-01' }],
    [plan, { vault: 'v-1', planRun: plan }],
    ['plan/shop/20260301T123005Z', { planRun: 'plan/shop/20260301T123005Z' }],
    ['somebody-elses', {}],
    ['vm/', {}],
    ['', {}],
  ])('%s', (id, fields) => {
    expect(fieldsOfWorkflow(id)).toEqual(fields);
  });
});

describe('the work fields of an activity or a job, from its input', () => {
  it.each<[string, unknown, object]>([
    ['a cycle', { vm: 'db', epoch: 2, sequence: 7 }, { vm: 'db', epoch: 2, sequence: 7 }],
    ['a job', { id: 'job/x', vault: 'v', vm: 'db', host: 'h', epoch: 2 }, { vm: 'db', host: 'h', epoch: 2 }],
    [
      "a VM's description",
      { description: { vm: 'db', host: 'h', epoch: 1, size: 's' } },
      { vm: 'db', host: 'h', epoch: 1 },
    ],
    ['values of other types', { vm: 1, epoch: '2', sequence: null }, {}],
    ['nothing', undefined, {}],
    ['no object', 'text', {}],
    ['a list', [1], {}],
  ])('%s', (_, input, fields) => {
    expect(fieldsOfInput(input)).toEqual(fields);
  });
});
