import { describe, expect, it, test } from 'vitest';
import { boardOf, runsAtText } from '../../domain/board.js';
import { toFailure, type FailureCode } from '../../domain/errors.js';
import { hostSilence, toldOf } from '../../domain/host-silence.js';
import { viewOf } from '../../domain/item-view.js';
import { nextStep } from '../../domain/next-step.js';
import { offeredOperations } from '../../domain/operations.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { at, newItem } from './random-life.js';

const NOW = at(1000);
const point = { id: 'p', time: at(200) };
const item = (changes: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newItem(),
  phase: 'Protected',
  shipped: { sequence: 1, sealedAt: at(200), bytes: 0 },
  latestRecoveryPoint: point,
  ...changes,
});
const failing = (code: FailureCode, since = 300) => ({ failure: toFailure(code, code), since: at(since) });
const waiting = (code: FailureCode, since = 300) => ({ ...failing(code, since), attempt: 3, nextTryAt: at(1240) });
const job = (kind: 'plannedFailover' | 'unplannedFailover', changes: object = {}) => ({
  requestId: 'r',
  jobId: `job/db-01/${kind}/1`,
  kind,
  startedAt: at(400),
  heardAt: at(900),
  ...changes,
});
const step = (of: ProtectedItem) => nextStep(of.vm, viewOf(of, NOW), NOW);
const UNPLANNED = 'farshore failover db-01 --type unplanned --wait';

describe('the next step', () => {
  it.each<[string, Partial<ProtectedItem>, string]>([
    ['the agent does not answer', { hostTrouble: failing('AgentNotAnswering') }, UNPLANNED],
    [
      'the hypervisor does not answer',
      { hostTrouble: failing('HypervisorUnreachable') },
      'farshore hypervisor --host host-1',
    ],
    ['a cycle has found it out', { retry: waiting('AgentNotAnswering') }, UNPLANNED],
    ['a planned failover has', { job: job('plannedFailover', { retry: waiting('AgentNotAnswering') }) }, UNPLANNED],
    [
      'it is paused and marked besides',
      { hostTrouble: failing('AgentNotAnswering'), paused: { since: at(1) }, resync: { cause: 'c', since: at(2) } },
      UNPLANNED,
    ],
    [
      'it is being failed over',
      { hostTrouble: failing('AgentNotAnswering'), job: job('unplannedFailover') },
      'farshore job show job/db-01/unplannedFailover/1',
    ],
    ['the store is full', { retry: waiting('StoreFull') }, 'farshore retry db-01'],
    [
      'its first protection waits for an operator',
      {
        phase: 'Unprotected',
        job: job('plannedFailover', { kind: 'enableProtection', retry: { ...failing('DiskMissing'), attempt: 1 } }),
      },
      'farshore retry db-01',
    ],
    ['it is paused', { paused: { since: at(1) } }, 'farshore resume db-01'],
    ['it is marked', { resync: { cause: 'c', since: at(2) } }, 'farshore resynchronize db-01 --now --wait'],
    ['it has failed over', { phase: 'FailedOver', activeSide: 'recovery' }, 'farshore commit db-01 --wait'],
  ])('%s', (_what, changes, command) => {
    expect(step(item(changes))).toMatchObject({ command });
    expect(step(item(changes))).not.toHaveProperty('optional');
  });

  it('for a healthy VM, is optional', () => {
    expect(step(item())).toMatchObject({ command: 'farshore failover db-01 --type planned --wait', optional: true });
  });

  it('for a healthy VM whose Provider does not answer, is to restart the Provider', () => {
    const advised = nextStep('db-01', viewOf(item(), NOW), NOW, { isProviderSilent: true });
    expect(advised.command).toBe('farshore worker --role vmm --name vmm-1');
    expect(advised).not.toHaveProperty('optional');
  });

  it('for a VM that Temporal has lost, is to adopt it, not to protect it', () => {
    const held = { vm: 'db-01', asProtected: true };
    expect(nextStep('db-01', undefined, NOW, { held }).command).toBe('farshore vault adopt db-01');
    expect(nextStep('db-01', undefined, NOW).command).toBe('farshore protect db-01 --wait');
  });

  it.each(['FailedOver', 'Committed'] as const)(
    'for a VM that is %s but does not run at the recovery site, is to start it',
    (phase) => {
      const view = viewOf(item({ phase, activeSide: 'recovery' }), NOW);
      for (const replicaVm of ['NotThere', 'Off'] as const) {
        const next = nextStep('db-01', view, NOW, { source: 'Off', replicaVm });
        expect(next).toMatchObject({ command: 'farshore vm start db-01' });
        expect(next).not.toHaveProperty('optional');
      }
      expect(nextStep('db-01', view, NOW, { source: 'Off', replicaVm: 'Running' })).toEqual(
        nextStep('db-01', view, NOW),
      );
    },
  );

  it('for a VM that is off at the primary site, is to start it', () => {
    const start = { command: 'farshore vm start db-01', purpose: expect.stringContaining('off at the primary site') };
    expect(nextStep('db-01', undefined, NOW, { source: 'Off' })).toMatchObject(start);
    expect(
      nextStep('db-01', undefined, NOW, { held: { vm: 'db-01', asProtected: false }, source: 'Off' }),
    ).toMatchObject({
      ...start,
      purpose: expect.stringContaining('farshore protect db-01 --wait'),
    });
    expect(nextStep('db-01', viewOf(item(), NOW), NOW, { source: 'Off' })).toMatchObject(start);
    expect(nextStep('db-01', undefined, NOW, { source: 'Running' }).command).toBe('farshore protect db-01 --wait');
    const failedOver = item({ phase: 'FailedOver', activeSide: 'recovery' });
    expect(nextStep('db-01', viewOf(failedOver, NOW), NOW, { source: 'Off' }).command).toContain('farshore commit');
  });

  const leftover = {
    what: 'startSource' as const,
    epoch: 1,
    failure: toFailure('ProviderNotAnswering', 'no answer'),
    jobId: 'job/db-01/plannedFailover/1',
    kind: 'plannedFailover' as const,
    since: at(400),
  };

  it.each<[string, Partial<ProtectedItem>]>([
    ['replicated', {}],
    ['paused', { paused: { since: at(1) } }],
    ['marked', { resync: { cause: 'c', since: at(2) } }],
    ['committed', { phase: 'Committed', activeSide: 'recovery' }],
    ['unprotected', { phase: 'Unprotected' }],
  ])('of a VM that is %s is to undo first what a job has left', (_what, changes) => {
    const advised = step(item({ ...changes, leftovers: [leftover] }));
    expect(advised).toMatchObject({ command: 'farshore retry db-01' });
    expect(advised.purpose).toContain('start the source VM again');
    expect(advised).not.toHaveProperty('optional');
  });

  it('is not a retry while a job is running, and not a retry instead of a failover from a lost host', () => {
    const running = item({ leftovers: [leftover], job: job('plannedFailover') });
    expect(step(running).command).toBe('farshore job show job/db-01/plannedFailover/1');
    expect(step(item({ leftovers: [leftover], hostTrouble: failing('AgentNotAnswering') })).command).toBe(UNPLANNED);
  });

  it('says how to waive the fencing of the source where that is possible', () => {
    const owed = { activeSide: 'recovery', sourceFence: { epoch: 3, since: at(1) } } as const;
    for (const phase of ['Committed', 'Unprotected'] as const) {
      const advised = step(item({ ...owed, phase }));
      expect(advised).toMatchObject({ command: 'farshore unprotect db-01 --primary-lost', optional: true });
      expect(advised.purpose).toContain('only if the primary site no longer exists');
    }
    expect(step(item({ ...owed, phase: 'FailedOver' })).command).toBe('farshore commit db-01 --wait');
  });

  it('names no failover for a VM without a state to fail over to', () => {
    const { latestRecoveryPoint: _, ...without } = item({ hostTrouble: failing('AgentNotAnswering') });
    expect(step(without).command).not.toContain('unplanned');
  });
});

const boardWith = (items: readonly ProtectedItem[], siteVms = items.map(({ vm }) => vm)) =>
  boardOf(
    {
      vault: 'vault-1',
      siteVms,
      items: new Map(items.map((each) => [each.vm, each])),
      jobs: [],
      planRuns: [],
    },
    NOW,
  );

test('an operation that needs a silent host waits for it, and a planned failover is not offered', () => {
  const silence = { host: 'host-1', since: at(990), heardAt: at(988), silent: 'hypervisor' as const };
  const told = toldOf(item(), silence);
  const offered = offeredOperations(told);
  const late = { allowed: true, waitsFor: 'host host-1, which is not answering' };
  expect(offered).toMatchObject({
    sync: late,
    resynchronize: late,
    verifyReplica: late,
    plannedFailover: { allowed: false, reason: expect.stringContaining(`(last heard at ${at(988)})`) },
    unplannedFailover: { allowed: true },
  });
  expect(offered.pause).toEqual({ allowed: true });
  expect(offeredOperations(item()).sync).toEqual({ allowed: true });
  expect(offeredOperations(item({ retry: { ...failing('AgentNotAnswering'), attempt: 1 } })).retry).toMatchObject({
    waitsFor: expect.stringContaining('host host-1'),
  });
  expect(hostSilence(told)).toEqual(silence);
  // What knows already, and what needs nothing of that host, stays as it is.
  for (const other of [told, item({ host: 'host-2' }), item({ phase: 'FailedOver', activeSide: 'recovery' })]) {
    expect(toldOf(other, silence)).toBe(other);
  }
});

test('an agent that is silent while its hypervisor answers is restarted before a failover is considered', () => {
  const silent = item({ hostTrouble: failing('AgentNotAnswering') });
  const next = nextStep('db-01', viewOf(silent, NOW), NOW, { source: 'Running' });
  expect(next.command).toBe('farshore worker --role host --name host-1');
  const heard = { vault: 'v', items: new Map([['db-01', silent]]), jobs: [], planRuns: [] };
  const [told] = boardOf({ ...heard, sourceVms: new Map([['db-01', 'Running' as const]]) }, NOW).attention;
  expect(told!.message).toMatch(/^The agent of host host-1 does not answer, but its hypervisor does: 1 VM /);
  expect(told!.advice[0]).toMatch(
    /^db-01 runs there, so restart only the agent: farshore worker --role host --name host-1\. If the old process hangs, end it first/,
  );
  expect(told!.advice[1]).toMatch(/^Only if you give up the host: farshore failover db-01/);
  expect(boardOf(heard, NOW).attention[0]!.advice[0]).toMatch(/^Fail over: /);
});

const NOT_LOST =
  'If the host is not lost, restart the processes that are down there: farshore hypervisor --host host-1, and farshore worker --role host --name host-1. If the old process hangs, end it first; `farshore up` restarts its own processes automatically. Replication then resumes automatically.';

test('a hypervisor that answers again, before its VMs know, is nothing to act on', () => {
  const told = item({ hostTrouble: failing('HypervisorUnreachable') });
  expect(nextStep('db-01', viewOf(told, NOW), NOW, { source: 'Running' }).command).not.toContain('farshore worker');
  const items = new Map([[told.vm, told]]);
  const sourceVms = new Map([[told.vm, 'Running' as const]]);
  const board = boardOf({ vault: 'vault-1', items, jobs: [], planRuns: [], sourceVms }, NOW);
  expect(board.attention).toMatchObject([{ message: expect.stringContaining('answers again'), advice: [] }]);
});

describe('the board', () => {
  const lost = failing('AgentNotAnswering');
  const two = [
    item({ hostTrouble: { ...lost, heardAt: at(280) } }),
    item({ vm: 'app-01', hostTrouble: { ...failing('AgentNotAnswering', 310), heardAt: at(270) } }),
  ];

  test('reports a lost host once, with all of its VMs and the command that fails them over', () => {
    const board = boardWith([...two, item({ vm: 'web-01', host: 'host-2' })]);
    expect(board.attention).toEqual([
      {
        vms: ['db-01', 'app-01'],
        host: 'host-1',
        health: 'Critical',
        message: 'Host host-1 lost, 2 VMs (db-01, app-01), last heard 12 min ago',
        since: at(300),
        heardAt: at(280),
        advice: ['Fail over: farshore failover db-01 app-01 --type unplanned --wait', NOT_LOST],
      },
    ]);
    expect(board.vms.map(runsAtText)).toEqual(['primary, unseen', 'primary, unseen', 'primary']);
    expect(board.hosts).toMatchObject([
      { host: 'host-1', vms: ['db-01', 'app-01'], health: 'Critical', silence: { heardAt: at(280) } },
      { host: 'host-2', vms: ['web-01'], health: 'Normal' },
    ]);
  });

  test('a lost host makes all of its VMs Critical from the same instant on, whenever each of them noticed', () => {
    const late = { ...lost, heardAt: at(280) };
    const vms = [
      item({ hostTrouble: late, retry: waiting('AgentNotAnswering', 950) }),
      item({ vm: 'app-01', hostTrouble: late, retry: waiting('WorkerLost', 960) }),
      // What is told to all is told to one after the other.
      item({ vm: 'sql-01', retry: waiting('AgentNotAnswering', 970) }),
    ];
    const board = boardWith(vms);
    expect(board.attention).toMatchObject([{ health: 'Critical', since: at(300) }]);
    expect(board.vms.map(({ health }) => health)).toEqual(['Critical', 'Critical', 'Critical']);
    for (const each of vms.slice(0, 2)) {
      const { conditions } = viewOf(each, NOW);
      expect(conditions).toMatchObject([{ reason: 'AgentNotAnswering', health: 'Critical', since: at(300) }]);
    }
  });

  test('reports a silent host, but not that the workers there have stopped', () => {
    const stopped = item({ hostTrouble: lost, retry: waiting('WorkerLost', 290) });
    const board = boardWith([stopped]);
    expect(board.attention).toMatchObject([{ host: 'host-1', vms: ['db-01'] }]);
    expect(viewOf(stopped, NOW).conditions).toMatchObject([{ reason: 'AgentNotAnswering' }]);
  });

  test('gives the same time for when a host was last heard as each of its VMs, whatever they have sent', () => {
    const heard = { ...lost, heardAt: at(280) };
    const cycle = (sealed: number) => ({ sequence: 1, sealedAt: at(sealed), bytes: 0 });
    const vms = [
      item({ hostTrouble: heard, shipped: cycle(282) }),
      item({ vm: 'app-01', hostTrouble: heard, shipped: cycle(200) }),
    ];
    const [row] = boardWith(vms).hosts;
    expect(row!.silence).toMatchObject({ heardAt: at(280), since: at(300) });
    for (const vm of vms) {
      expect(viewOf(vm, NOW).operations.plannedFailover).toMatchObject({
        reason: expect.stringContaining(`(last heard at ${at(280)})`),
      });
    }
    // One that goes on sending is heard all the same.
    const sends = item({ hostTrouble: heard, shipped: cycle(400) });
    expect(boardWith([sends]).hosts[0]!.silence).toMatchObject({ heardAt: at(400) });
  });

  test('never advises a planned failover for a VM with a problem', () => {
    const troubles: Partial<ProtectedItem>[] = [
      { hostTrouble: lost },
      { retry: waiting('AgentNotAnswering') },
      { retry: waiting('StoreFull') },
      { shipped: { sequence: 1, sealedAt: at(-4000), bytes: 0 } },
      { cycleHistory: [false] },
      { job: job('plannedFailover', { retry: waiting('ProviderNotAnswering') }) },
    ];
    for (const trouble of troubles) {
      const { attention } = boardWith([item(trouble)]);
      expect(attention).not.toEqual([]);
      expect(JSON.stringify(attention)).not.toContain('--type planned');
    }
  });

  test('names in the command only the VMs that can fail over, and explains the others', () => {
    const { latestRecoveryPoint: _, ...fresh } = item({ vm: 'new-01', phase: 'Seeding', hostTrouble: lost });
    const busy = item({ vm: 'busy-01', hostTrouble: lost, job: job('plannedFailover') });
    const going = item({ vm: 'going-01', hostTrouble: lost, job: job('unplannedFailover') });
    const [host] = boardWith([fresh, busy, going]).attention;
    expect(host!.advice).toEqual([
      'Fail over: farshore failover busy-01 --type unplanned --wait',
      'The failover cancels the running jobs of busy-01.',
      'Being failed over: going-01.',
      'Cannot be failed over, as there is no recovery point: new-01.',
      NOT_LOST,
    ]);
  });

  test('a host that has just fallen silent is not reported as lost yet', () => {
    const [host] = boardWith([item({ hostTrouble: failing('AgentNotAnswering', 950) })]).attention;
    expect(host).toMatchObject({ health: 'Warning', message: expect.stringMatching(/^Host host-1 does not answer/) });
    expect(host!.advice.at(-1)).toBe(NOT_LOST);
  });

  test('reports a hypervisor that does not answer its agent, and advises starting it before a failover', () => {
    const missed = item({ hostTrouble: failing('HypervisorUnreachable') });
    const [host] = boardWith([missed]).attention;
    expect(host!.message).toMatch(/^The hypervisor of host host-1 does not answer, but its agent does: 1 VM /);
    expect(host!.advice).toEqual([
      expect.stringMatching(/^Restart the hypervisor; no data is lost: farshore hypervisor --host host-1\./),
      'Only if you give up the host: farshore failover db-01 --type unplanned --wait',
    ]);
    // Once the agent is silent, too, nobody knows what of the host is there.
    const both = item({ ...missed, retry: { ...failing('AgentNotAnswering'), attempt: 1 } });
    expect(boardWith([both]).attention[0]!.message).toMatch(/^Host host-1 lost/);
  });

  test('shows findings from the vault: a replica without protection, and a replica VM that should run but does not', () => {
    const state = { epoch: 3, phase: 'Committed' as const, recoveryPoint: 'p', recoveryPointTime: at(1), at: at(2) };
    const heard = {
      vault: 'vault-1',
      siteVms: ['lost-01', 'off-01', 'on-01'],
      items: new Map([['over-01', item({ vm: 'over-01', phase: 'FailedOver', activeSide: 'recovery' })]]),
      jobs: [],
      planRuns: [],
      held: [
        { vm: 'lost-01', asProtected: true },
        { vm: 'gone-01', asProtected: true },
        { vm: 'off-01', asProtected: false, state },
        { vm: 'on-01', asProtected: false, state },
        { vm: 'kept-01', asProtected: false },
      ],
      replicaVms: new Map([
        ['on-01', 'Running' as const],
        ['off-01', 'Off' as const],
      ]),
    };
    const board = boardOf(heard, NOW);
    expect(board.vms.map(({ vm, activeSide }) => [vm, activeSide])).toEqual([
      ['lost-01', undefined],
      ['off-01', 'recovery'],
      ['on-01', 'recovery'],
      ['gone-01', undefined],
      ['over-01', 'recovery'],
    ]);
    expect(board.vms.at(-1)).toMatchObject({ vm: 'over-01', health: 'Critical', stopped: true });
    expect(board.vms.map(runsAtText)).toEqual(['-', 'recovery, off', 'recovery', '-', 'recovery, off']);
    const critical = board.attention.filter(({ health }) => health === 'Critical');
    expect(critical.map(({ vms, advice }) => [vms[0], advice[0]])).toEqual([
      ['lost-01', 'farshore vault adopt lost-01'],
      ['gone-01', 'Add the VM to the site file again, then: farshore vault adopt gone-01'],
      ['off-01', 'farshore vm start off-01'],
      ['over-01', 'farshore vm start over-01'],
    ]);
    // Where nobody can tell, nothing is claimed.
    expect(boardOf({ ...heard, held: [], replicaVms: undefined }, NOW).health).toBe('Warning');
  });

  test('shows a VM that runs at both sites, and how to end that', () => {
    const failedOver = { phase: 'FailedOver', activeSide: 'recovery' } as const;
    const owed = item({ ...failedOver, vm: 'owed-01', sourceFence: { epoch: 3, since: at(1) } });
    const items = [owed, item({ ...failedOver, vm: 'on-01' }), item({ ...failedOver, vm: 'off-01' }), item()];
    const heard = {
      vault: 'vault-1',
      siteVms: [],
      items: new Map(items.map((each) => [each.vm, each])),
      jobs: [],
      planRuns: [],
      sourceVms: new Map([
        ['owed-01', 'Running' as const],
        ['on-01', 'Running' as const],
        ['off-01', 'Off' as const],
        ['db-01', 'Running' as const],
      ]),
    };
    const critical = boardOf(heard, NOW).attention.filter(({ health }) => health === 'Critical');
    expect(critical).toMatchObject([
      { vms: ['on-01'], advice: ['Shut down the source on its host.'] },
      {
        vms: ['owed-01'],
        advice: [
          expect.stringMatching(
            /^Restart the Provider: farshore worker --role vmm --name .*turns off the source automatically/,
          ),
        ],
      },
    ]);
  });

  test('shows protected VMs that are missing from the site file, and how to end that', () => {
    const board = boardWith([item(), item({ vm: 'old-01' })], ['db-01', 'new-01']);
    expect(board.vms.map(({ vm, phase }) => `${vm} ${phase}`)).toEqual([
      'db-01 Protected',
      'new-01 Unprotected',
      'old-01 Protected',
    ]);
    expect(board.attention).toMatchObject([
      { vms: ['old-01'], health: 'Warning', advice: [expect.stringContaining('farshore unprotect old-01')] },
    ]);
  });
});
