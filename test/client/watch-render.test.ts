import { describe, expect, test } from 'vitest';
import { toFailure } from '../../domain/errors.js';
import type { Job } from '../../domain/job.js';
import { newJob } from '../../domain/jobs/job-record.js';
import { policySchema } from '../../domain/policy.js';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { renderSnapshot } from '../../client/watch/render.js';
import { boardOf, type Heard } from '../../domain/board.js';

const AT = '2026-03-01T12:00:00.000Z';
const MiB = 2 ** 20;
const WIDE = { columns: 160, colour: false };

const item = (vm: string, more: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newProtectedItem({ vault: 'v1', vm, host: 'h1', vmmServer: 'vmm', policy: policySchema.parse({ name: 'p' }) }),
  phase: 'Protected',
  shipped: { sequence: 7, sealedAt: '2026-03-01T11:59:48.000Z', bytes: 3 * MiB },
  cycleDueAt: '2026-03-01T12:00:18.000Z',
  ...more,
});
const heard = (items: readonly ProtectedItem[], more: Partial<Heard> = {}, vms?: string[]): Heard => ({
  vault: 'v1',
  siteVms: vms ?? items.map(({ vm }) => vm),
  items: new Map(items.map((each) => [each.vm, each])),
  jobs: [],
  planRuns: [],
  ...more,
});
const seeding = (vm: string, more: Partial<Job> = {}): Job => {
  const job = newJob('initialReplication', `job/${vm}/initial-replication/x`, 'v1', vm, '2026-03-01T11:59:00.000Z');
  job.tasks[0] = { ...job.tasks[0]!, state: 'InProgress', startedAt: '2026-03-01T11:59:00.000Z' };
  return { ...job, progress: { bytesDone: 600 * MiB, bytesTotal: 1000 * MiB }, ...more };
};
const waiting = { failure: toFailure('DiskMissing', 'os'), attempt: 1, since: '2026-03-01T11:57:00.000Z' };

const show = (of: Heard, format: Parameters<typeof renderSnapshot>[1] = WIDE) =>
  renderSnapshot(boardOf(of, AT), format);

test('shows VMs with phase, health, RPO, last and next cycle, and VMs that are not protected', () => {
  expect(show(heard([item('db-01')], {}, ['db-01', 'web-01']))).toEqual([
    'Vault v1  2 VMs:  1 Normal  1 not protected  2026-03-01T12:00:00Z',
    '',
    'VM      PHASE        RUNS AT  HEALTH  RPO   LAST CYCLE  NEXT CYCLE',
    'db-01   Protected    primary  Normal  12 s  3.0 MiB     in 18 s',
    'web-01  Unprotected  -        -       -     -           -',
  ]);
});

test('shows a running job with task, progress, speed and expected end, and a plan run with its phase', () => {
  const plan = { id: 'plan/shop/x', plan: { name: 'shop', groups: [] }, phase: 'starting group data' };
  const lines = show(heard([], { jobs: [seeding('db-01')], planRuns: [plan as never] }));
  expect(lines.slice(-3)).toEqual(
    [
      'RUNNING              VM     TASK                       PROGRESS                       SPEED       DONE',
      'Recovery plan shop   -      starting group data        -                              -           -',
      'Initial replication  db-01  Copying the virtual disks  [######....]  60 % of 1000.0 MiB  10.0 MiB/s  in 40 s',
    ].map((line) => expect.stringMatching(new RegExp(line.replace(/[[\]().*+?]/g, '\\$&').replace(/ {2,}/g, ' +')))),
  );
});

test('a job that is stuck says that it waits for an operator', () => {
  const text = (job: Partial<Job>) => show(heard([], { jobs: [seeding('db-01', job)] })).at(-1);
  expect(text({ retry: waiting })).toMatch(/waits for an operator +- +-$/);
  expect(text({ retry: { ...waiting, nextTryAt: '2026-03-01T12:01:00.000Z' } })).toContain('waits for a retry');
  expect(text({ heldBefore: 'Start failover' })).toContain('waits for the plan');
});

test('each problem has its remedy, and the command unless the remedy contains it; the worst is first', () => {
  const paused = item('a-01', { paused: { since: '2026-03-01T11:50:00.000Z' } });
  const stuck = item('b-01', { retry: waiting });
  const lines = show(heard([paused, stuck], { held: [{ vm: 'c-01', asProtected: true }] }, ['a-01', 'b-01', 'c-01']));
  const from = lines.findIndex((line) => line.startsWith('NEEDS ATTENTION'));
  expect(lines.slice(from)).toEqual([
    'NEEDS ATTENTION: 3',
    'Critical  c-01: the vault holds a replica, but Temporal has no protection workflow for the VM, so the replica is going stale',
    '  -> farshore vault adopt c-01',
    'Critical  b-01: os; waits for an operator (for 3 min)',
    '  -> Put the disk file back where it was.',
    '  -> farshore retry b-01  (once you have fixed the cause)',
    'Warning  a-01: replication is paused; changes are tracked, but not sent (for 10 min)',
    '  -> farshore resume a-01',
  ]);
  // Of neither there is a next cycle.
  expect(lines.filter((line) => / 3\.0 MiB +-$/.test(line))).toHaveLength(2);
});

test('a message that names its VM is not prefixed with the name again', () => {
  const broken = { ...waiting, failure: toFailure('BrokenChain', 'web-01: disk os was replaced') };
  const text = show(heard([item('web-01', { retry: broken })])).join('\n');
  expect(text).toContain('Critical  web-01: disk os was replaced');
});

test('ages keep counting from the last known state, and a lost connection shows since when', () => {
  const snapshot = boardOf(heard([item('db-01')]), '2026-03-01T12:01:00.000Z');
  const stale = { message: 'Temporal does not answer', heardAt: AT };
  const lines = renderSnapshot({ ...snapshot, stale }, WIDE);
  expect(lines[1]).toBe('Temporal does not answer. This view is 1 min old. Retrying.');
  expect(lines.at(-1)).toMatch(/db-01 .* 1 min 12 s +3\.0 MiB +due$/);
});

describe('in a terminal', () => {
  const many = Array.from({ length: 200 }, (_, index) => item(`vm-${String(index).padStart(3, '0')}`));
  const bad = item('vm-150', { retry: waiting });
  const jobs = many.slice(0, 5).map(({ vm }) => seeding(vm));
  const crowd = heard(many.with(150, bad), { jobs });

  test.each([
    [80, 24],
    [120, 40],
    [20, 8],
    [1, 1],
    [200, 3],
  ])('of %i columns and %i lines, nothing is longer or lower', (columns, rows) => {
    const lines = show(crowd, { columns, rows, colour: false });
    expect(lines.length).toBeLessThanOrEqual(rows);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
  });

  test('rows that do not fit are counted, the worst VM is on top, and short lists are complete', () => {
    const lines = show(crowd, { columns: 120, rows: 24, colour: false });
    expect(lines[3]).toMatch(/^vm-150 +Protected +primary +Critical/);
    const left = /^\.\.\. (\d+) more$/;
    const shown = lines.filter((line) => line.startsWith('vm-')).length;
    expect(lines.map((line) => left.exec(line)?.[1]).filter(Boolean)).toEqual([`${200 - shown}`]);
    expect(lines.filter((line) => line.startsWith('Initial replication'))).toHaveLength(5);
    expect(lines.at(-1)).toMatch(/farshore retry vm-150/);
  });

  test.each([60, 100, 120])(
    'of %i columns advice is wrapped, so that its command can be read to its end',
    (columns) => {
      const fence = { epoch: 2, since: AT, problem: { message: 'the hypervisor does not answer', at: AT } };
      const lost = heard([item('db-01', { phase: 'Committed', activeSide: 'recovery', sourceFence: fence })]);
      const [wide, narrow] = [Infinity, columns].map((each) => show(lost, { columns: each, rows: 30, colour: false }));
      const command = 'farshore unprotect db-01 --primary-lost';
      const words = (lines: readonly string[]) =>
        lines
          .slice(lines.findIndex((line) => line.startsWith('NEEDS')))
          .join(' ')
          .replace(/ +/g, ' ');
      expect(words(wide!)).toContain(command);
      expect(words(narrow!)).toBe(words(wide!));
      expect(Math.max(...narrow!.map((line) => line.length))).toBeLessThanOrEqual(columns);
      expect(narrow!.length).toBeGreaterThan(wide!.length);
    },
  );

  test('text that is too long for its column is cut off', () => {
    const long = { ...waiting, failure: toFailure('DiskMissing', 'a long story '.repeat(40).trim()) };
    const lines = show(heard([item('db-01', { retry: long })]), { columns: 80, rows: 12, colour: false });
    expect(lines).toContainEqual(expect.stringMatching(/^Critical {2}db-01: a long story/));
    expect(lines.at(-1)).toBe('... more of this');
    expect(lines).toHaveLength(12);
  });

  test('colors health, and changes nothing else', () => {
    const plain = show(crowd, { columns: 100, rows: 30, colour: false });
    const coloured = show(crowd, { columns: 100, rows: 30, colour: true });
    expect(coloured.join('\n')).toContain('\u001b[31mCritical');
    // eslint-disable-next-line no-control-regex
    expect(coloured.map((line) => line.replace(/\u001b\[\d+m/g, '').trimEnd())).toEqual(plain);
    expect(plain.join('')).not.toContain('\u001b');
  });

  test('text from other sources cannot control the terminal', () => {
    const sly = { ...waiting, failure: toFailure('DiskMissing', 'os\u001b[2J\r\n\u202edone') };
    const text = show(heard([item('db-01', { retry: sly })])).join('|');
    expect(text).toMatch(/db-01: os \[2J done;/);
  });
});
