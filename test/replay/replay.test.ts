/**
 * Workflows outlive the code that began them: stored histories of every workflow replay against the code as it is, and
 * a workflow changed on purpose does not. `record-histories.test.ts` records them, each behaviour in a folder of its own.
 */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { jobKinds, type JobKind } from '../../domain/jobs/known-jobs.js';
import * as versions from '../../workflows/versions.js';
import { workflowBundle } from '../workflows/workflow-worker.js';
import { replay, type History } from './replayed.js';

const folder = fileURLToPath(new URL('histories/', import.meta.url));
const changes: readonly string[] = Object.values(versions);
/** Kinds of jobs that there were not yet. */
const since02: readonly JobKind[] = [
  'changeRecoveryPoint',
  'cancelFailover',
  'testFailover',
  'cleanupTestFailover',
  'failback',
  'reverseReplicate',
  'cancelFailback',
];
/** How many histories there are of each workflow type, by folder: a corpus that is silently empty proves nothing. */
const expected: Record<string, Record<string, number>> = {
  // Also jobs that failed, were cancelled, terminated, and taken over from, and plan runs that were terminated, and stopped.
  '0.2': {
    ...Object.fromEntries(jobKinds.filter((kind) => !since02.includes(kind)).map((kind) => [kind, 1])),
    runRecoveryPlan: 3,
    hostWatch: 1,
    showVault: 1,
    protectVm: 9,
    plannedFailover: 6,
    verifyReplica: 3,
    initialReplication: 3,
  },
  // What is new in it only, and continued runs.
  'before-commit': {
    ...{ changeRecoveryPoint: 2, cancelFailover: 3, previewJob: 2, unplannedFailover: 1 },
    ...{ protectVm: 3, initialReplication: 1 },
  },
  failback: {
    ...{ failback: 2, cancelFailback: 1, commitFailover: 1, reverseReplicate: 1, protectVm: 2, initialReplication: 1 },
  },
  'test-failover': { testFailover: 2, cleanupTestFailover: 1, protectVm: 3, initialReplication: 1 },
};

interface Stored extends History {
  readonly type: string;
  readonly history: { readonly events: readonly Event[] };
}

interface Event {
  readonly markerRecordedEventAttributes?: {
    readonly markerName: string;
    readonly details: Record<string, { payloads: readonly { data: string }[] }>;
  };
}

async function storedIn(name: string): Promise<Stored[]> {
  const files = (await readdir(`${folder}${name}`)).toSorted();
  return Promise.all(
    files.map(async (file) => JSON.parse(await readFile(`${folder}${name}/${file}`, 'utf8')) as Stored),
  );
}

/** The changes of behaviour that a run took part in. */
function changesOf({ history }: Stored): string[] {
  return history.events.flatMap(({ markerRecordedEventAttributes: marker }) => {
    const data = marker?.markerName === 'core_patch' ? marker.details['patch-data']?.payloads[0]?.data : undefined;
    return data === undefined ? [] : [(JSON.parse(Buffer.from(data, 'base64').toString()) as { id: string }).id];
  });
}

describe('stored histories', () => {
  let code: string;
  const byFolder: Record<string, Stored[]> = {};
  let histories: Stored[];
  beforeAll(async () => {
    ({ code } = await workflowBundle());
    for (const name of await readdir(folder)) byFolder[name] = await storedIn(name);
    histories = Object.values(byFolder).flat();
  });

  test('are there for every workflow, in each folder', () => {
    const counts: Record<string, Record<string, number>> = {};
    for (const [name, stored] of Object.entries(byFolder)) {
      const ofFolder = (counts[name] = {} as Record<string, number>);
      for (const { type } of stored) ofFolder[type] = (ofFolder[type] ?? 0) + 1;
    }
    expect(counts).toEqual(expected);
  });

  test('are of continued runs too, in each folder', () => {
    for (const stored of Object.values(byFolder)) {
      const continued = stored.filter(({ history }) => JSON.stringify(history).includes('continuedExecutionRunId"'));
      expect(continued.map(({ type }) => type).toSorted()).toEqual(['initialReplication', 'protectVm']);
    }
  });

  test.each(changes)('are there with and without the change %s', (change) => {
    const took = histories.filter((stored) => changesOf(stored).includes(change));
    const types = new Set(took.map(({ type }) => type));
    // Of a workflow that takes part in it now.
    const not = histories.filter((stored) => types.has(stored.type) && !changesOf(stored).includes(change));
    expect([took.length > 0, not.length > 0]).toEqual([true, true]);
  });

  test('tell of no change that has lost its name', () => {
    expect(histories.flatMap(changesOf).filter((change) => !changes.includes(change))).toEqual([]);
  });

  test('replay', async () => {
    expect(await replay({ code }, histories)).toEqual([]);
  });

  test('replay with a lower limit of events for runs that begin now', async () => {
    const lowered = code.replace('const HISTORY_LIMIT = 1_000;', 'const HISTORY_LIMIT = 10;');
    expect(lowered).not.toBe(code);
    expect(await replay({ code: lowered }, histories)).toEqual([]);
  });

  test('that have no task yet keep nobody waiting', async () => {
    const [{ type, history, workflowId }] = histories as [Stored];
    const begun = { type, workflowId, history: { events: history.events.slice(0, 1) } };
    expect(await replay({ code }, [begun, ...histories.slice(1, 2)])).toEqual([]);
  });

  test('do not replay when a workflow was changed', async () => {
    // As a careless change would: the source is not fenced before the replica VM is made or started.
    const changed = code.replaceAll('run.sourceFabric.fenceVm(', 'run.sourceFabric.startVm(');
    expect(changed).not.toBe(code);
    const problems = await replay({ code: changed }, histories);
    // Of those that came so far.
    const fencing = histories.filter(
      ({ type, history }) =>
        ['plannedFailover', 'cancelFailback'].includes(type) && JSON.stringify(history).includes('"fenceVm"'),
    );
    expect(problems.map((problem) => problem.split(':')[0])).toEqual(fencing.map(({ workflowId }) => workflowId));
    expect(fencing.length).toBeGreaterThan(1);
    expect(problems[0]).toContain('Determinism');
  });
});
