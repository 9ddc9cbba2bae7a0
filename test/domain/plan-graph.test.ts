import { describe, expect, test } from 'vitest';
import {
  isMachineStep,
  isThrough,
  isThroughAll,
  newStep,
  plannedGraph,
  readySteps,
  refusalOfStep,
  stagesOf,
  stageUnderWay,
  stopper,
  type PlanGraph,
  type PlanStep,
} from '../../domain/plan-graph.js';

const plan = {
  name: 'three-tier',
  groups: [
    { name: 'data', vms: ['db-01'] },
    { name: 'front', vms: ['app-01', 'web-01'] },
  ],
};
const ids = (steps: readonly PlanStep[]) => steps.map(({ id }) => id);
const settle = (graph: PlanGraph, settled: readonly string[], state: PlanStep['state']): PlanGraph => ({
  ...graph,
  steps: graph.steps.map((step) => (settled.includes(step.id) ? { ...step, state } : step)),
});

test('a planned run checks all VMs, shuts down the last group first, sends in parallel, and starts group by group', () => {
  let graph = plannedGraph(plan);
  const order: string[][] = [];
  for (let ready = readySteps(graph); ready.length > 0; ready = readySteps(graph)) {
    order.push(ids(ready));
    graph = settle(graph, ids(ready), 'Succeeded');
  }
  expect(order).toEqual([
    ['check/db-01', 'check/app-01', 'check/web-01'],
    ['shut-down-2/app-01', 'shut-down-2/web-01'],
    ['shut-down-1/db-01'],
    ['send/db-01', 'send/app-01', 'send/web-01'],
    ['start-1/db-01'],
    ['start-2/app-01', 'start-2/web-01'],
  ]);
  expect(isThroughAll(graph)).toBe(true);
});

test('nothing begins after a step that is not over, and the run says what it waits for', () => {
  const begun = settle(plannedGraph(plan), ['check/db-01', 'check/app-01'], 'Succeeded');
  expect(ids(readySteps(settle(begun, ['check/web-01'], 'Running')))).toEqual([]);
  expect(stageUnderWay(begun)?.title).toBe('checking prerequisites');
  const failed = settle(begun, ['check/web-01'], 'Failed');
  expect(ids(readySteps(failed))).toEqual([]);
  expect(stopper(failed)?.id).toBe('check/web-01');
  expect(stagesOf(failed)[0]).toMatchObject({ state: 'Failed', done: 2, steps: 3 });
  expect(stagesOf(begun)[1]).toMatchObject({ title: 'shutting down group front', state: 'Waiting' });
});

test('a step that may fail does not stop the steps after it', () => {
  const graph: PlanGraph = {
    stages: [
      { id: 'one', title: 'one', after: [] },
      { id: 'two', title: 'two', after: ['one'] },
    ],
    steps: [
      {
        ...newStep({ id: 'one/look', stage: 'one', kind: 'manualAction', instructions: 'look' }, 'goOn'),
        state: 'Failed',
      },
      newStep({ id: 'two/wait', stage: 'two', kind: 'wait', seconds: 1 }),
    ],
  };
  expect(stopper(graph)).toBeUndefined();
  expect(ids(readySteps(graph))).toEqual(['two/wait']);
});

test('a machine that holds further on counts as having passed the step', () => {
  const [check, shutDown] = plannedGraph(plan)
    .steps.filter(isMachineStep)
    .filter(({ vm }) => vm === 'db-01');
  expect(isThrough(check!, undefined)).toBe(false);
  expect(isThrough(check!, 'Shut down the virtual machine')).toBe(true);
  expect(isThrough(check!, 'Start the replica virtual machine')).toBe(true);
  expect(isThrough(shutDown!, 'Shut down the virtual machine')).toBe(false);
});

describe('the decisions of an operator', () => {
  const manual: PlanStep = newStep({ id: 'a/look', stage: 'a', kind: 'manualAction', instructions: 'look' });
  const wait: PlanStep = newStep({ id: 'a/wait', stage: 'a', kind: 'wait', seconds: 9 });
  const machine: PlanStep = newStep({ id: 'check/db-01', stage: 'check', kind: 'check', vm: 'db-01' });
  const running = (step: PlanStep): PlanStep => ({ ...step, state: 'Running' });
  test.each([
    [running(manual), ['approve', 'reject', 'skipStep']],
    [running(wait), ['skipStep']],
    [running(machine), ['retryStep']],
    [manual, ['skipStep']],
    [machine, []],
    [{ ...manual, state: 'Succeeded' as const }, []],
  ])('%o', (step, allowed) => {
    const all = ['approve', 'reject', 'retryStep', 'skipStep'] as const;
    expect(all.filter((request) => refusalOfStep(step, request) === undefined)).toEqual(allowed);
  });
});
