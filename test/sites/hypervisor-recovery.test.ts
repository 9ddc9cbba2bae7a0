import { randomBytes } from 'node:crypto';
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RecoveryComputeClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { ReplicaVmSpec } from '../../ports/recovery-compute.js';
import { HypervisorProcess } from '../support/hypervisor-process.js';
import { readDisk, writeDisk } from '../support/replica-disks.js';

const MIB = 1024 * 1024;
/** Not a multiple of 1 MiB: the replica is larger than the source. */
const SIZE = 2 * MIB + 512;
const DISK = { vm: 'db', disk: 'os' };

let folder: string;
let store: EmbeddedReplicaStore;
let process: HypervisorProcess;
let compute: RecoveryComputeClient;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fs-rc-'));
  store = await EmbeddedReplicaStore.open(join(folder, 'store'), { create: true });
  process = await HypervisorProcess.configure(folder, 'rc', {
    recovery: { store: { kind: 'embedded', path: join(folder, 'store') } },
  });
  compute = new RecoveryComputeClient(process.controlSocket);
});
afterEach(async () => {
  await process.kill();
  await store.close();
  await rm(folder, { recursive: true, force: true });
});

/** A replica whose newest point has `content`, and which has changed since. */
async function makePoint(content: Buffer): Promise<string> {
  const fence = { scope: 'vms/db', epoch: 3, sequence: 1 };
  await store.disks.create(DISK, 3 * MIB, fence);
  await writeDisk(store.disks, DISK, [{ offset: 0, data: content }], fence);
  const snapshot = await store.disks.snapshot(DISK, fence);
  await writeDisk(store.disks, DISK, [{ offset: 0, data: Buffer.alloc(MIB, 0xee) }], { ...fence, sequence: 2 });
  return snapshot;
}

const specOf = (snapshot: string, vm = 'db'): ReplicaVmSpec => ({
  description: {
    vm,
    host: 'host-1',
    vmmServer: 'vmm-1',
    epoch: 3,
    generation: 2,
    size: 'Standard_D2s_v5',
    osDisk: 'os',
    disks: [{ name: 'os', size: SIZE, replicaSize: 3 * MIB }],
    networkAdapters: [],
    finalized: true,
  },
  epoch: 4,
  disks: [{ name: 'os', replica: DISK, snapshot }],
});

async function contentOf(uri: string): Promise<Buffer> {
  const guest = await NbdGuest.connect(uri);
  const content = Buffer.alloc(guest.size);
  await guest.read(content, 0);
  await guest.close();
  return content;
}

it('a replica VM runs from a recovery point, keeps its writes after a kill, and does not change the point', async () => {
  const content = randomBytes(SIZE);
  const snapshot = await makePoint(content);
  await process.start();
  await compute.createVm(specOf(snapshot));
  await compute.createVm(specOf(snapshot));
  expect(await compute.listVms()).toMatchObject([{ name: 'db', state: 'Off', disks: [{ size: SIZE }] }]);
  await expect(compute.createVm({ ...specOf(snapshot), epoch: 5 })).rejects.toMatchObject({ code: 'InvalidVmState' });
  const vm = await compute.startVm('db', 4);
  expect(vm.state).toBe('Running');
  const uri = vm.disks[0]!.nbdUri!;
  expect((await contentOf(uri)).equals(content)).toBe(true);

  const guest = await NbdGuest.connect(uri);
  await guest.write(Buffer.alloc(4096, 7), SIZE - 4096);
  await process.kill();
  await process.start();
  expect((await compute.startVm('db', 4)).state).toBe('Running');
  const after = await contentOf(uri);
  expect(after.subarray(SIZE - 4096).equals(Buffer.alloc(4096, 7))).toBe(true);
  expect(after.subarray(0, SIZE - 4096).equals(content.subarray(0, SIZE - 4096))).toBe(true);
  expect((await readDisk(store.disks, DISK, 0, SIZE, snapshot)).equals(content)).toBe(true);

  await compute.turnOffVm('db');
  expect(await compute.listVms()).toMatchObject([{ state: 'Off' }]);
  await expect(contentOf(uri)).rejects.toThrow();
  await process.kill('SIGTERM');
  await process.start();
  expect(await compute.listVms()).toMatchObject([{ state: 'Off' }]);
  await compute.startVm('db', 4);
  expect((await contentOf(uri)).equals(after)).toBe(true);

  await compute.deleteVm('db');
  await compute.deleteVm('db');
  expect(await compute.listVms()).toEqual([]);
  // Made again it begins at the point.
  await compute.createVm(specOf(snapshot));
  await compute.startVm('db', 4);
  expect((await contentOf(uri)).equals(content)).toBe(true);
});

it('refuses fenced callers, unknown VMs and missing points', async () => {
  const snapshot = await makePoint(randomBytes(SIZE));
  await process.start();
  await compute.createVm(specOf(snapshot));
  await expect(compute.startVm('db', 3)).rejects.toMatchObject({ code: 'StaleEpoch' });
  await store.objects.raiseFence({ scope: 'vms/db', epoch: 5, sequence: 0 });
  await expect(compute.startVm('db', 4)).rejects.toMatchObject({ code: 'StaleEpoch' });
  expect((await compute.startVm('db', 5)).state).toBe('Running');
  await expect(compute.startVm('db-2', 5)).rejects.toMatchObject({ code: 'VmNotFound' });
  await expect(compute.createVm(specOf('no-such', 'db-test'))).rejects.toMatchObject({ code: 'InvalidReplicaState' });
  await compute.createVm(specOf(snapshot, 'db-test'));
  expect((await compute.startVm('db-test', 4)).state).toBe('Running');
  await process.kill();
  await expect(compute.listVms()).rejects.toMatchObject({ code: 'RecoverySideNotAnswering' });
});

it.each(['spec.json', 'state.json'])(
  'a replica VM whose %s is damaged is refused by name, and its data is kept',
  async (file) => {
    const snapshot = await makePoint(randomBytes(SIZE));
    await process.start();
    for (const vm of ['db', 'web']) {
      await compute.createVm(specOf(snapshot, vm));
      await compute.startVm(vm, 4);
    }
    await process.kill();
    const damaged = join(folder, 'rc.state', 'vms', 'db', file);
    await writeFile(damaged, '{');
    await process.start();
    const vms = await compute.listVms();
    expect(vms.find(({ name }) => name === 'web')).toMatchObject({ state: 'Running' });
    const db = vms.find(({ name }) => name === 'db');
    expect(db).toMatchObject({ state: 'Off', failure: { code: 'InvalidVmState' } });
    expect(db!.failure!.detail).toContain(damaged);
    await expect(compute.startVm('db', 4)).rejects.toMatchObject({ code: 'InvalidVmState' });
    // Made anew it would lose what its guest wrote; deleting is somebody's wish.
    if (file === 'spec.json') {
      await expect(compute.createVm(specOf(snapshot))).rejects.toMatchObject({ code: 'InvalidVmState' });
      await access(join(folder, 'rc.state', 'vms', 'db', 'os.avhd'));
    }
    await compute.deleteVm('db');
    expect((await compute.listVms()).map(({ name }) => name)).toEqual(['web']);
    await process.kill('SIGTERM');
  },
);

it('a test VM keeps running after a kill of the recovery compute, with its writes', async () => {
  const content = randomBytes(SIZE);
  const snapshot = await makePoint(content);
  await process.start();
  await compute.createTestVm({ ...specOf(snapshot), name: 'db-test' });
  const { disks } = await compute.startTestVm('db-test');
  const guest = await NbdGuest.connect(disks[0]!.nbdUri!);
  await guest.write(Buffer.alloc(4096, 7), 0);
  await process.kill();
  await process.start();
  expect(await compute.listTestVms()).toMatchObject([{ name: 'db-test', testOf: 'db', state: 'Running' }]);
  const after = await contentOf(disks[0]!.nbdUri!);
  expect(after.subarray(0, 4096).equals(Buffer.alloc(4096, 7))).toBe(true);
  expect(after.subarray(4096).equals(content.subarray(4096))).toBe(true);
  await process.kill('SIGTERM');
});

it.each(['spec.json', 'state.json'])(
  'a test VM whose %s is damaged keeps no other VM from running, and can be deleted',
  async (file) => {
    const snapshot = await makePoint(randomBytes(SIZE));
    await process.start();
    await compute.createVm(specOf(snapshot));
    await compute.startVm('db', 4);
    await compute.createTestVm({ ...specOf(snapshot), name: 'db-test' });
    await compute.startTestVm('db-test');
    await process.kill();
    await writeFile(join(folder, 'rc.state', 'test-vms', 'db-test', file), '{');
    await process.start();
    expect(await compute.listVms()).toMatchObject([{ name: 'db', state: 'Running' }]);
    await expect(compute.startTestVm('db-test')).rejects.toMatchObject({ code: 'InvalidVmState' });
    await compute.deleteTestVm('db-test');
    expect(await compute.listTestVms()).toEqual([]);
    await compute.createTestVm({ ...specOf(snapshot), name: 'db-test' });
    expect(await compute.startTestVm('db-test')).toMatchObject({ state: 'Running' });
    await process.kill('SIGTERM');
  },
);
