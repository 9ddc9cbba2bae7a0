/**
 * One file of many is damaged, each kind of file in each way. What is asked on the worst day, to list, export, fail over
 * and adopt, and the next cycle, has to offer the best state that is whole, name what is damaged, and be right byte by byte.
 */
import { mkdir, mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { createTargetActivities } from '../../activities/target.js';
import { adopt } from '../../domain/adopted-item.js';
import { CatalogueError } from '../../domain/errors.js';
import { policySchema } from '../../domain/policy.js';
import {
  appliedStateSchema,
  cycleManifestSchema,
  recoveryPointId,
  recoveryPointSchema,
  replicaDescriptionSchema,
  vaultPaths,
} from '../../domain/vault.js';
import { exportPoint } from '../../replication/export-point.js';
import { LATEST } from '../../replication/failover-point.js';
import { readKeptRecord } from '../../replication/kept-record.js';
import { shipCycle } from '../../replication/ship.js';
import { surveyVault, type VaultVm } from '../../replication/vault-survey.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { RecoveryCompute, ReplicaVmSpec } from '../../ports/recovery-compute.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { run } from '../activities/embedded-site.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { intercept } from './intercepted-store.js';
import { KiB, Model, VM, write, zero } from './model.js';
import { copiesOf, flipByte, seedReplica, type OpenedStore } from './replica-fixture.js';
import { readDisk } from '../support/replica-disks.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

type State = ReadonlyMap<string, Buffer>;

/** Applied, and points of them. */
const APPLIED = 2;
const RECEIVED = 4;
const defaultPolicy = policySchema.parse({ name: 'default' });
const policy = { ...defaultPolicy, name: 'of-the-vault' };

let copy: () => Promise<OpenedStore>;
/** By cycle, kept apart from the store. */
const states: State[] = [];
const model = new Model({ os: 256 * KiB + 512, data: 128 * KiB });

async function ship(store: ReplicaStore, sequence: number): Promise<State> {
  model.write('os', write(sequence * 4 * KiB, 8 * KiB, sequence));
  model.write('os', zero(64 * KiB, 512 * sequence));
  model.write('data', write(0, 4 * KiB, sequence + 100));
  const { cut, changeSet } = model.seal(1, sequence);
  await shipCycle(store, changeSet, cut, { epoch: 1, sequence });
  return new Map([...model.disks].map(([name, bytes]) => [name, Buffer.from(bytes)]));
}

/** As the workers would, with a compute that keeps what it was asked for. */
function site(store: ReplicaStore) {
  const created: ReplicaVmSpec[] = [];
  const compute = {
    listVms: async () => [],
    createVm: async (spec: ReplicaVmSpec) => void created.push(spec),
  } as unknown as RecoveryCompute;
  const networks = [{ name: 'production', subnets: ['default'] }];
  return { created, azure: createTargetActivities({ store, compute, networks }) };
}

let kept: string | undefined;
/** Within the first test: what it needs for it goes when a test ends. */
beforeEach(async () => {
  if (kept !== undefined) return;
  kept = await mkdtemp(path.join(tmpdir(), 'farshore-damaged-'));
  const store = await EmbeddedReplicaStore.open(kept, { create: true });
  model.write('os', write(0, 128 * KiB, 1));
  await seedReplica(store, model);
  const { azure } = site(store);
  for (let sequence = 1; sequence <= RECEIVED; sequence += 1) {
    states[sequence] = await ship(store, sequence);
    if (sequence > APPLIED) continue;
    await run(azure.applyCycle, { vm: VM, epoch: 1, sequence, retentionHours: 24, policy });
    const networkAdapters = [{ name: 'nic0', network: 'production', subnet: 'default' }];
    if (sequence === 1) await run(azure.finalizeReplica, { vm: VM, epoch: 1, networkAdapters });
  }
  copy = await copiesOf({ store, folder: kept });
});
afterAll(async () => {
  if (kept !== undefined) await rm(kept, { recursive: true });
});

type Damage = (file: string) => Promise<unknown>;
type Damages = readonly (readonly [string, Damage | 'EIO'])[];
const flippedInTheMiddle = [
  'a bit flipped in the middle',
  (file) => flipBit(file, 0.5),
] as const satisfies Damages[number];
const otherContents: Damages = [
  ['empty', (file) => truncate(file, 0)],
  ['truncated', async (file) => truncate(file, Math.floor((await stat(file)).size * 0.6))],
  ['a bit flipped near the beginning', (file) => flipBit(file, 0.2)],
  flippedInTheMiddle,
  ['a bit flipped near the end', (file) => flipBit(file, 0.7)],
  ['other JSON', (file) => writeFile(file, '{"name":"of something else"}\n')],
];
const otherThanContents: Damages = [
  ['missing', (file) => rm(file)],
  [
    'a folder in its place',
    async (file) => {
      await rm(file);
      await mkdir(file);
    },
  ],
  ['unreadable', 'EIO'],
];
const damages: Damages = [...otherContents, ...otherThanContents];
/** Of a record: what other contents it has makes no difference, see below. */
const damagesOfRecord: Damages = [flippedInTheMiddle, ...otherThanContents];

const flipBit = async (file: string, where: number): Promise<void> =>
  flipByte(file, Math.floor((await stat(file)).size * where));

/** A store in which the objects of these names are damaged. */
async function damaged(names: readonly string[], damage: Damage | 'EIO'): Promise<ReplicaStore> {
  const { store, folder } = await copy();
  if (damage !== 'EIO') {
    for (const name of names) await damage(path.join(folder, ...name.split('/')));
    return store;
  }
  const unreadable = new Set<unknown>(names);
  const before = async (name: unknown) => {
    if (unreadable.has(name)) throw new CatalogueError('StoreUnreachable', `${String(name)}: EIO`);
  };
  const reading = (['objects.get', 'objects.read', 'objects.readInto'] as const).reduce(
    (inner, operation) => intercept(inner, operation, { before }),
    store,
  );
  // What is written anew lies elsewhere.
  return intercept(reading, 'objects.put', { after: async (name) => unreadable.delete(name) });
}

async function expectExport(store: ReplicaStore, wanted: string, state: State) {
  const folder = path.join(await temporaryFolder(), 'out');
  const exported = await exportPoint(store, { vm: VM, wanted, folder });
  expect(exported.disks.map(({ name }) => name).sort()).toEqual([...state.keys()].sort());
  for (const [disk, content] of state) {
    const file = await readFile(path.join(folder, `${disk}.vhd`));
    expect(file.subarray(0, content.length).equals(content), `${wanted} ${disk}`).toBe(true);
  }
  return exported;
}

/** The whole of an unplanned failover at the recovery site. */
async function expectFailover(store: ReplicaStore, wanted: string, cycle: number) {
  const { azure, created } = site(store);
  const { failoverEpoch, refusal } = await run(azure.checkUnplannedFailover, { vm: VM, wanted });
  expect(refusal).toBeUndefined();
  const settled = await run(azure.settleRecoveryPoint, { vm: VM, wanted });
  expect(settled.recoveryPoint.id).toBe(recoveryPointId(1, cycle));
  const input = { vm: VM, failoverEpoch, recoveryPoint: settled.recoveryPoint.id };
  await run(azure.startUnplannedFailover, input);
  const state = states[cycle]!;
  expect(created[0]!.disks.map(({ name }) => name).sort()).toEqual([...state.keys()].sort());
  for (const { name, replica, snapshot } of created[0]!.disks) {
    const found = await readDisk(store.disks, replica, 0, state.get(name)!.length, snapshot);
    expect(found.equals(state.get(name)!), name).toBe(true);
  }
  return settled;
}

async function adoptFrom(store: ReplicaStore) {
  const { vms, unreadable } = await surveyVault(store);
  expect(unreadable).toEqual([]);
  expect(vms.map(({ vm }) => vm)).toEqual([VM]);
  const [found] = vms;
  const of = { vault: 'v', vm: VM, host: 'host-1', vmmServer: 'vmm-1', policy: found!.policy ?? defaultPolicy };
  return { found: found!, adoption: adopt(of, found!, 'unknown', '2026-01-01T03:00:00.000Z') };
}

const cycleInput = (sequence: number) => ({ vm: VM, epoch: 1, sequence, retentionHours: 24, policy });

const records = {
  description: vaultPaths.description(VM),
  'applied state': vaultPaths.applied(VM),
  'oldest point': vaultPaths.point(VM, recoveryPointId(1, 1)),
  'newest point': vaultPaths.point(VM, recoveryPointId(1, APPLIED)),
  'applied manifest': vaultPaths.manifest(VM, 1, APPLIED),
  'next manifest': vaultPaths.manifest(VM, 1, APPLIED + 1),
  'last manifest': vaultPaths.manifest(VM, 1, RECEIVED),
  policy: vaultPaths.policy(VM),
} as const;
type Kind = keyof typeof records;
const both = (kind: Kind) => [records[kind], vaultPaths.second(records[kind])];

const schemas = {
  description: replicaDescriptionSchema,
  'applied state': appliedStateSchema,
  'oldest point': recoveryPointSchema,
  'newest point': recoveryPointSchema,
  'applied manifest': cycleManifestSchema,
  'next manifest': cycleManifestSchema,
  'last manifest': cycleManifestSchema,
  policy: policySchema,
} as const satisfies Record<Kind, unknown>;

/** All that reads records does it this way, and hears no more of what a copy contains than this: one such damage stands for all. */
describe.each(Object.keys(records) as Kind[])('a copy of the %s that contains anything else', (kind) => {
  const [first, second] = both(kind) as [string, string];
  test.each(otherContents)('is none: %s', async (_how, damage) => {
    const whole = await readKeptRecord((await copy()).store.objects, first, schemas[kind]);
    const problem = expect.stringContaining(first);
    const readOf = async (names: readonly string[]) =>
      readKeptRecord((await damaged(names, damage)).objects, first, schemas[kind]);
    expect(await readOf([first])).toEqual({ value: whole!.value, damaged: problem });
    expect(await readOf([second])).toEqual(whole);
    await expect(readOf([first, second])).rejects.toMatchObject({ code: 'InvalidReplicaState', message: problem });
  });
});

const MENDED: readonly string[] = [records.description, records['applied state'], records.policy];

describe.each(Object.entries(records))('one of the two copies of the %s', (_kind, name) => {
  const cases = [
    ...damagesOfRecord.map(([how, damage]) => [how, name, damage] as const),
    ...otherThanContents.map(([how, damage]) => [how, vaultPaths.second(name), damage] as const),
  ];
  test.each(cases)('%s (%s): nothing is lost', async (_how, one, damage) => {
    const store = await damaged([one], damage);
    const { found, adoption } = await adoptFrom(store);
    expect(adoption).toMatchObject({ item: { phase: 'Protected', policy, nextSequence: APPLIED + 1 } });
    expect(adoption).not.toHaveProperty('item.resync');
    expect(found.points.map(({ sequence }) => sequence)).toEqual([1, 2]);
    expect(found.received.map(({ sequence }) => sequence)).toEqual([3, 4]);
    const exported = await expectExport(store, LATEST, states[RECEIVED]!);
    expect(exported.stoppedBy).toBeUndefined();
    await expectExport(store, recoveryPointId(1, 1), states[1]!);
    const { azure } = site(store);
    await run(azure.applyCycle, cycleInput(3));
    // What is replaced, not kept as it is, is whole twice again.
    if (MENDED.includes(name))
      expect(await store.objects.get(name)).toEqual(await store.objects.get(vaultPaths.second(name)));
    const settled = await expectFailover(store, LATEST, RECEIVED);
    expect(settled).toMatchObject({ cyclesProcessed: 1 });
    expect(settled.stoppedBy).toBeUndefined();
  });
});

describe('both copies', () => {
  test.each(damagesOfRecord)('of the oldest point, %s: everything newer is there', async (how, damage) => {
    const store = await damaged(both('oldest point'), damage);
    const { found } = await adoptFrom(store);
    expect(found.points.map(({ sequence }) => sequence)).toEqual([2]);
    if (how !== 'missing' && how !== 'a folder in its place') {
      expect(found.damaged.map(({ name }) => name)).toContain(records['oldest point']);
      await expect(expectExport(store, recoveryPointId(1, 1), states[1]!)).rejects.toThrow(records['oldest point']);
    }
    await expectExport(store, LATEST, states[RECEIVED]!);
    await run(site(store).azure.applyCycle, cycleInput(3));
    // What nobody can read may be whole again tomorrow: its snapshots stay.
    if (how === 'unreadable') expect(await store.disks.listSnapshots({ vm: VM, disk: 'os' })).toHaveLength(3);
    expect((await expectFailover(store, LATEST, RECEIVED)).stoppedBy).toBeUndefined();
  });

  test.each(damagesOfRecord)(
    'of the newest point, %s: the replica says the same, and it is made again',
    async (_how, damage) => {
      const store = await damaged(both('newest point'), damage);
      await expectExport(store, LATEST, states[RECEIVED]!);
      if (damage !== 'EIO') await expectFailover(store, 'latest-processed', APPLIED);
    },
  );

  test.each(damagesOfRecord)(
    'of the next manifest, %s: what came before is offered, and how much older it is',
    async (_how, damage) => {
      const store = await damaged(both('next manifest'), damage);
      const { found } = await adoptFrom(store);
      expect(found.damaged.map(({ problem }) => problem).join()).toContain(records['next manifest']);
      const told = expect.stringMatching(/cycles\/0001-00000003\/manifest.json.*this state is 10 min older/s);
      expect(await expectExport(store, LATEST, states[APPLIED]!)).toMatchObject({ cyclesAdded: 0, stoppedBy: told });
      expect(await expectFailover(store, LATEST, APPLIED)).toMatchObject({ cyclesProcessed: 0, stoppedBy: told });
    },
  );

  test.each(damagesOfRecord)('of the manifest of an applied cycle, %s: nothing is lost', async (_how, damage) => {
    const store = await damaged(both('applied manifest'), damage);
    await expectExport(store, LATEST, states[RECEIVED]!);
    await run(site(store).azure.applyCycle, cycleInput(3));
    expect((await expectFailover(store, LATEST, RECEIVED)).stoppedBy).toBeUndefined();
  });

  test.each(damagesOfRecord)(
    'of the applied state, %s: it is made again from what else is there',
    async (_how, damage) => {
      const store = await damaged(both('applied state'), damage);
      const { adoption } = await adoptFrom(store);
      expect(adoption).toMatchObject({ item: { phase: 'Protected', nextSequence: APPLIED + 1 } });
      await expectExport(store, LATEST, states[RECEIVED]!);
      await run(site(store).azure.applyCycle, cycleInput(3));
      expect((await expectFailover(store, LATEST, RECEIVED)).stoppedBy).toBeUndefined();
    },
  );

  test('of the applied state, and of the point of it: the cycle is applied once more', async () => {
    const store = await damaged([...both('applied state'), ...both('newest point')], 'EIO');
    await expectExport(store, 'latest-processed', states[1]!);
    await expectFailover(store, LATEST, RECEIVED);
  });

  test.each(damagesOfRecord)('of the policy, %s: it goes on by another', async (_how, damage) => {
    const store = await damaged(both('policy'), damage);
    const { adoption } = await adoptFrom(store);
    expect(adoption).toMatchObject({ item: { policy: defaultPolicy } });
    await run(site(store).azure.applyCycle, cycleInput(3));
  });

  test.each(damagesOfRecord)(
    'of the description, %s: the VM is listed, and what is wrong with it',
    async (_how, damage) => {
      const store = await damaged(both('description'), damage);
      const problem = expect.stringContaining(records.description);
      expect(await surveyVault(store)).toMatchObject({ vms: [], unreadable: [{ vm: VM, problem }] });
      const task = { vm: VM, wanted: LATEST, folder: await temporaryFolder() };
      await expect(exportPoint(store, task)).rejects.toMatchObject({ message: problem });
    },
  );
});

describe.each([APPLIED + 1, RECEIVED])('a change file of cycle %i', (cycle) => {
  const name = vaultPaths.changes(VM, 1, cycle, 'data');
  test.each(damages)('%s: no disk gets anything of it, and what came before is offered', async (_how, damage) => {
    const store = await damaged([name], damage);
    const told = { stoppedBy: expect.stringContaining(name) };
    expect(await expectExport(store, LATEST, states[cycle - 1]!)).toMatchObject(told);
    expect(await expectFailover(store, LATEST, cycle - 1)).toMatchObject(told);
  });
});

test('a manifest with a renamed or missing disk is refused by every reader', async () => {
  for (const edit of [
    (disks: { name: string }[]) => (disks[0]!.name = 'boot'),
    (disks: { name: string }[]) => disks.pop(),
  ]) {
    const { store, folder } = await copy();
    const name = records['next manifest'];
    const raw = JSON.parse(await readFile(path.join(folder, ...name.split('/')), 'utf8'));
    edit(raw.disks);
    // As one of an older version, or one that was changed by hand.
    delete raw.checksum;
    for (const one of [name, vaultPaths.second(name)])
      await writeFile(path.join(folder, ...one.split('/')), JSON.stringify(raw));
    const told = { stoppedBy: expect.stringContaining('the manifest of') };
    expect(await expectExport(store, LATEST, states[APPLIED]!)).toMatchObject({ cyclesAdded: 0, ...told });
    expect(await expectFailover(store, LATEST, APPLIED)).toMatchObject(told);
  }
});

test('a point with a missing disk is refused by every reader', async () => {
  const { store, folder } = await copy();
  const name = records['oldest point'];
  const raw = JSON.parse(await readFile(path.join(folder, ...name.split('/')), 'utf8'));
  raw.disks.pop();
  delete raw.checksum;
  for (const one of [name, vaultPaths.second(name)])
    await writeFile(path.join(folder, ...one.split('/')), JSON.stringify(raw));
  await expect(expectExport(store, recoveryPointId(1, 1), states[1]!)).rejects.toThrow('lacks the disk data');
  const { refusal } = await run(site(store).azure.checkUnplannedFailover, { vm: VM, wanted: recoveryPointId(1, 1) });
  expect(refusal).toContain('lacks the disk data');
  await expectFailover(store, LATEST, RECEIVED);
});

test('a point whose snapshot is gone is skipped, and the next older one is used', async () => {
  const { store } = await copy();
  const { found } = await adoptFrom(store);
  const [, newest] = found.points;
  const { snapshot } = newest!.disks[1]!;
  const fence = { scope: vaultPaths.vm(VM), ...found.fence };
  await store.disks.deleteSnapshot({ vm: VM, disk: 'data' }, snapshot, fence);
  // In the midst of a cycle the replica is no state.
  await store.objects.raiseFence({ ...fence, sequence: 3 });
  const told = { stoppedBy: expect.stringContaining(`there is no snapshot ${snapshot}`) };
  expect(await expectFailover(store, 'latest-processed', 1)).toMatchObject(told);
});

test('points that need a lost undo journal are reported and not offered; newer ones and the live state are', async () => {
  const { store, folder } = await copy();
  const { found } = await adoptFrom(store);
  const [oldest, newest] = found.points;
  const { snapshot } = oldest!.disks[0]!;
  await rm(path.join(folder, `${replicaBlobName(VM, 'os')}.undo`, snapshot), { recursive: true });
  const [{ points, damaged }] = (await surveyVault(store)).vms as [VaultVm];
  expect(points.map(({ id }) => id)).toEqual([newest!.id]);
  expect(damaged).toEqual([
    { name: vaultPaths.point(VM, oldest!.id), problem: expect.stringContaining(`no snapshot ${snapshot} of disk os`) },
  ]);
  await expect(expectExport(store, oldest!.id, states[1]!)).rejects.toThrow(snapshot);
  await expectExport(store, newest!.id, states[2]!);
  await expectFailover(store, LATEST, RECEIVED);
});

test('points whose newer neighbor has lost its undo journal are not read from newer data', async () => {
  const { store, folder } = await copy();
  const { found } = await adoptFrom(store);
  const [oldest, newest] = found.points;
  await rm(path.join(folder, `${replicaBlobName(VM, 'os')}.undo`, newest!.disks[0]!.snapshot), { recursive: true });
  for (const { id } of [oldest!, newest!]) {
    await expect(expectExport(store, id, states[1]!)).rejects.toThrow('no snapshot');
  }
  expect(await surveyVault(store)).toMatchObject({ vms: [{ points: [], damaged: [{}, {}] }] });
  await expectFailover(store, LATEST, RECEIVED);
});

test('while no copy of a fence is intact, nothing is written, and everything can be exported', async () => {
  const { store, folder } = await copy();
  for (const file of ['.fence', '.fence-second']) await writeFile(path.join(folder, vaultPaths.vm(VM), file), '{');
  await expectExport(store, recoveryPointId(1, 1), states[1]!);
  await expectExport(store, 'latest-processed', states[APPLIED]!);
  expect(await expectExport(store, LATEST, states[RECEIVED]!)).toMatchObject({
    cyclesAdded: RECEIVED - APPLIED,
    stoppedBy: expect.stringContaining('fence'),
  });
  const { azure } = site(store);
  for (const write of [
    () => run(azure.applyCycle, cycleInput(3)),
    () => run(azure.checkUnplannedFailover, { vm: VM, wanted: LATEST }),
  ]) {
    await expect(write()).rejects.toMatchObject({ type: 'InvalidReplicaState' });
  }
  expect(await surveyVault(store)).toMatchObject({ vms: [], unreadable: [{ vm: VM }] });
});

test('while a point is unreadable, no snapshot is deleted; with the next newer one, it is', async () => {
  const { store, folder } = await copy();
  const both = ['', 'second/'].map((part) =>
    path.join(folder, 'vms', VM, part, 'points', `${recoveryPointId(1, 1)}.json`),
  );
  for (const file of both) await writeFile(file, '{');
  const { azure } = site(store);
  await run(azure.applyCycle, cycleInput(3));
  expect(await store.disks.listSnapshots({ vm: VM, disk: 'os' })).toHaveLength(3);
  await run(azure.applyCycle, { ...cycleInput(4), retentionHours: 0 });
  expect(await store.disks.listSnapshots({ vm: VM, disk: 'os' })).toHaveLength(1);
  for (const file of both) await expect(open(file)).rejects.toMatchObject({ code: 'ENOENT' });
});
