import { expect, test } from 'vitest';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { leftoverId, sortHeld, verdictOn, type Held, type VmClaims } from '../../domain/unclaimed.js';

const VM = 'db-01';
const AT = '2026-03-01T12:00:00.000Z';
const policy = {
  name: 'default',
  copyFrequencySeconds: 30,
  recoveryPointRetentionHours: 2,
  appConsistentFrequencyHours: 0,
} as unknown as ProtectedItem['policy'];

const itemOf = (change: Partial<ProtectedItem>): ProtectedItem => ({
  ...newProtectedItem({ vault: 'v', vm: VM, host: 'h1', vmmServer: 'vmm-1', policy }),
  ...change,
});
const applied = { sequence: 3, sealedAt: AT, bytes: 0 };
const job = { jobId: 'job/v/db-01/failback/1', kind: 'failback', startedAt: AT } as unknown as ProtectedItem['job'];
const drill = { testVm: `${VM}-test`, since: AT };
const state = { phase: 'Committed', recoveryPoint: '0001-00000003' } as const;
const asProtected = { epoch: 1 };
const keptReplica = { epoch: 1, unprotectedAt: AT };

/** VMs in all states. */
const vms = {
  'never protected': {},
  'unprotected, everything deleted': { replica: undefined },
  'unprotected, the replica kept': { replica: keptReplica },
  'unprotected after a committed failover': { replica: keptReplica, state },
  seeding: { item: itemOf({ phase: 'Seeding', epoch: 1 }), replica: asProtected },
  protected: { item: itemOf({ phase: 'Protected', epoch: 1, applied }), replica: asProtected },
  marked: {
    item: itemOf({ phase: 'Protected', epoch: 1, applied, resync: { cause: 'x', since: AT } as never }),
    replica: asProtected,
  },
  'protected, with a test failover': {
    item: itemOf({ phase: 'Protected', epoch: 1, applied, drill }),
    replica: asProtected,
  },
  'with a job': {
    item: itemOf({ phase: 'Committed', activeSide: 'recovery', epoch: 3, applied, job }),
    replica: asProtected,
    state,
  },
  'failed over': {
    item: itemOf({ phase: 'FailedOver', activeSide: 'recovery', epoch: 2, applied }),
    replica: asProtected,
    state,
  },
  'failed back': { item: itemOf({ phase: 'FailedBack', epoch: 4, applied }), replica: asProtected },
  'lost by Temporal': { replica: asProtected },
} satisfies Record<string, Partial<VmClaims>>;
type Named = keyof typeof vms;
const ALL = Object.keys(vms) as Named[];

/** For each thing, the VMs that do not claim it; for all others, it must be claimed or kept. */
const unclaimedBy: readonly (readonly [held: Omit<Held, 'vm'>, by: readonly Named[]])[] = [
  [
    { kind: 'replicaVm' },
    [
      'never protected',
      'unprotected, everything deleted',
      'unprotected, the replica kept',
      'seeding',
      'protected',
      'marked',
      'protected, with a test failover',
    ],
  ],
  [
    { kind: 'testVm', name: `${VM}-test` },
    ALL.filter((vm) => !['protected, with a test failover', 'with a job', 'lost by Temporal'].includes(vm)),
  ],
  [{ kind: 'testVm', name: 'another' }, ALL.filter((vm) => !['with a job', 'lost by Temporal'].includes(vm))],
  [
    { kind: 'testHold' },
    ALL.filter((vm) => !['protected, with a test failover', 'with a job', 'lost by Temporal'].includes(vm)),
  ],
  [
    { kind: 'changeSets', epoch: 3 },
    ['unprotected, the replica kept', 'unprotected after a committed failover', 'failed over'],
  ],
  [{ kind: 'copyRecords' }, ALL.filter((vm) => !['seeding', 'marked', 'with a job', 'lost by Temporal'].includes(vm))],
  [{ kind: 'verificationRecords' }, ALL.filter((vm) => !['with a job', 'lost by Temporal'].includes(vm))],
  [{ kind: 'leases' }, ALL.filter((vm) => !['with a job', 'lost by Temporal'].includes(vm))],
  [
    { kind: 'records' },
    [
      'never protected',
      'unprotected, everything deleted',
      'unprotected, the replica kept',
      'unprotected after a committed failover',
    ],
  ],
  [{ kind: 'replica' }, []],
  [
    { kind: 'evidence' },
    ALL.filter((vm) => !['protected, with a test failover', 'with a job', 'lost by Temporal'].includes(vm)),
  ],
  [
    { kind: 'unfinished' },
    ALL.filter((vm) => !['protected, with a test failover', 'with a job', 'lost by Temporal'].includes(vm)),
  ],
  [{ kind: 'oldChangeLogs', host: 'h1' }, ALL.filter((vm) => !['with a job', 'lost by Temporal'].includes(vm))],
  [
    { kind: 'changeLogs', host: 'h1', epoch: 1 },
    [
      'never protected',
      'unprotected, everything deleted',
      'unprotected, the replica kept',
      'unprotected after a committed failover',
    ],
  ],
  [
    { kind: 'vmSnapshot', host: 'h1' },
    ALL.filter((vm) => !['seeding', 'marked', 'with a job', 'lost by Temporal'].includes(vm)),
  ],
  [{ kind: 'failbackLayers', host: 'h1', epoch: 3 }, ['unprotected after a committed failover', 'failed over']],
  [{ kind: 'failbackLayers', host: 'h1', epoch: 3, isRunning: true }, []],
  [
    { kind: 'failbackLayers', host: 'h1', epoch: 3, isCommitted: true, isRunning: true },
    ALL.filter((vm) => !['failed back', 'with a job', 'lost by Temporal'].includes(vm)),
  ],
];

test.for(unclaimedBy)('%j is unclaimed only if the VM has no use for it', ([held, by]) => {
  const found = ALL.filter(
    (name) => verdictOn({ ...held, vm: VM }, { isStoreKnown: true, ...vms[name] }).is === 'unclaimed',
  );
  expect(found.toSorted()).toEqual([...by].toSorted());
});

test('while the vault can not be read for a VM, nothing of it is unclaimed', () => {
  for (const [held] of unclaimedBy) {
    for (const name of ALL) {
      expect(verdictOn({ ...held, vm: VM }, { ...vms[name], isStoreKnown: false }).is).toBe('claimed');
    }
  }
  expect(sortHeld([{ kind: 'testHold', vm: VM }], new Map())).toEqual({ leftovers: [], kept: [] });
});

test('a job that is about to begin, a step that was not undone, and a source that is not fenced claim everything', () => {
  const changes: Partial<ProtectedItem>[] = [
    { pending: [{ requestId: 'r', jobId: 'j', operation: 'failback' }] as never },
    { leftovers: [{ jobId: 'j' }] as never },
    { sourceFence: { epoch: 2, since: AT } },
  ];
  for (const change of changes) {
    const item = itemOf({ phase: 'Committed', activeSide: 'recovery', epoch: 2, applied, ...change });
    for (const [held] of unclaimedBy) {
      expect(verdictOn({ ...held, vm: VM }, { item, replica: asProtected, isStoreKnown: true }).is).toBe('claimed');
    }
  }
});

test('what was kept on purpose is listed apart, with the command that removes it', () => {
  const held: Held[] = [
    { kind: 'replicaVm', vm: VM },
    { kind: 'replica', vm: VM },
    { kind: 'changeLogs', vm: VM, host: 'h1', epoch: 1 },
  ];
  const claims = new Map([[VM, { isStoreKnown: true, ...vms['unprotected after a committed failover'] }]]);
  const { leftovers, kept } = sortHeld(held, claims);
  expect(leftovers).toMatchObject([
    { id: 'h1/db-01/change-logs', where: 'h1', cleansItself: 'when db-01 is started on its host' },
  ]);
  expect(kept).toMatchObject([
    { kind: 'replicaVm', command: 'farshore vm delete-replica db-01' },
    { kind: 'replica', reason: expect.stringContaining(AT) as string },
  ]);
});

test('what the next cycle deletes says so; without one it stays', () => {
  for (const kind of ['leases', 'snapshots', 'formerDisks'] as const) {
    const said = (name: Named) => verdictOn({ kind, vm: VM }, { isStoreKnown: true, ...vms[name] });
    expect(said('protected')).toMatchObject({ is: 'unclaimed', cleansItself: 'with the next cycle' });
    expect(said('failed over')).not.toHaveProperty('cleansItself');
  }
});

test('notes of a hypervisor stay while they may keep a VM from running twice', () => {
  const held: Held = { kind: 'vmState', vm: VM, host: 'h1' };
  const said = (claims: Partial<VmClaims>) => verdictOn(held, { isStoreKnown: true, ...claims }).is;
  expect(said({})).toBe('unclaimed');
  expect(said(vms['unprotected, the replica kept'])).toBe('unclaimed');
  expect(said({ isNamed: true })).toBe('claimed');
  for (const name of [
    'unprotected after a committed failover',
    'protected',
    'failed over',
    'with a job',
    'lost by Temporal',
  ] as const)
    expect(said(vms[name]), name).toBe('claimed');
});

test('ids tell the place, the VM and the thing', () => {
  expect(leftoverId({ kind: 'testVm', vm: VM, name: 'db-01-test' })).toBe('recovery/db-01/test-vm');
  expect(leftoverId({ kind: 'changeSets', vm: VM })).toBe('store/db-01/change-sets');
  expect(leftoverId({ kind: 'failbackLayers', vm: VM, host: 'h1' })).toBe('h1/db-01/failback-layers');
});
