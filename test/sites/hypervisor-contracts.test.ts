/** What ports promise of hypervisors, of the embedded ones: over their control interface, as everyone uses them. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { replicaSizeOf } from '../../replication/replica.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { HypervisorClient, RecoveryComputeClient } from '../../sites/hypervisor/control-client.js';
import { serveHypervisor, serveRecoveryCompute } from '../../sites/hypervisor/control-server.js';
import { EmbeddedHypervisor } from '../../sites/hypervisor/hypervisor.js';
import { hypervisorConfigSchema, type HypervisorConfig } from '../../sites/hypervisor/hypervisor-config.js';
import { EmbeddedRecoveryCompute } from '../../sites/hypervisor/recovery-compute.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import type { HypervisorVm, VmInventory } from '../../ports/hypervisor-vm.js';
import { changeSourceContract } from '../contracts/change-source.js';
import { HARDWARE, hypervisorContract } from '../contracts/hypervisor.js';
import { computeSpec, recoveryComputeContract } from '../contracts/recovery-compute.js';
import { testVmsContract } from '../contracts/test-vms.js';
import { content } from '../support/content.js';
import { writeDisk } from '../support/replica-disks.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const VM = 'db-01';
const MiB = 1024 ** 2;
const DISKS: Readonly<Record<string, number>> = { os: 8 * MiB, data: 4 * MiB + 512 };
const quiet = { warn: () => undefined };

const configOf = (folder: string, more: object): HypervisorConfig =>
  hypervisorConfigSchema.parse({
    stateFolder: join(folder, 'state'),
    controlSocket: join(folder, 'control.sock'),
    nbdSocketFolder: join(folder, 'nbd'),
    freeSpaceFloorBytes: 0,
    ...more,
  });

/** @param start what is to be closed, in this order. @returns what ends that, and starts it again. */
async function restartable(start: () => Promise<readonly { close(): Promise<void> }[]>): Promise<() => Promise<void>> {
  let parts = await start();
  const stop = async () => {
    for (const part of parts) await part.close();
  };
  onTestFinished(stop);
  return async () => {
    await stop();
    parts = await start();
  };
}

async function startHypervisor() {
  const folder = await temporaryFolder();
  for (const [name, size] of Object.entries(DISKS)) {
    const file = await open(join(folder, name), 'w');
    await file.truncate(size);
    await file.close();
  }
  const disks = Object.keys(DISKS).map((name) => ({ name, path: join(folder, name) }));
  const config = configOf(folder, { vms: [{ name: VM, disks, hardware: HARDWARE }] });
  const restart = await restartable(async () => {
    const hypervisor = await EmbeddedHypervisor.open(config, quiet);
    return [await serveHypervisor(config.controlSocket, hypervisor, quiet), hypervisor];
  });
  return { hypervisor: new HypervisorClient(config.controlSocket), restart };
}

/** A disk as the guest of its VM has it. */
async function onDisk<T>(inventory: Pick<VmInventory, 'listVms'>, disk: string, work: (guest: NbdGuest) => Promise<T>) {
  return onDiskOf(await inventory.listVms(), VM, disk, work);
}

async function onDiskOf<T>(
  vms: readonly HypervisorVm[],
  vm: string,
  disk: string,
  work: (guest: NbdGuest) => Promise<T>,
) {
  const uri = vms.find(({ name }) => name === vm)?.disks.find(({ name }) => name === disk)?.nbdUri;
  if (uri === undefined) throw new Error(`${disk} is not served`);
  const guest = await NbdGuest.connect(uri);
  try {
    return await work(guest);
  } finally {
    await guest.close();
  }
}

async function contentOf(guest: NbdGuest): Promise<Buffer> {
  const bytes = Buffer.alloc(guest.size);
  for (let at = 0; at < bytes.length; at += MiB) await guest.read(bytes.subarray(at, at + MiB), at);
  return bytes;
}

changeSourceContract('the embedded hypervisor', async () => {
  const { hypervisor } = await startHypervisor();
  return {
    ...{ source: hypervisor, vm: VM, disks: DISKS },
    write: (disk, data, offset) => onDisk(hypervisor, disk, (guest) => guest.write(data, offset)),
    contentOf: (disk) => onDisk(hypervisor, disk, contentOf),
    shutDown: async () => void (await hypervisor.shutDownVm(VM)),
  };
});

hypervisorContract('the embedded hypervisor', async () => {
  const { hypervisor, restart } = await startHypervisor();
  return {
    ...{ hypervisor, restart, vm: VM, disks: DISKS, hardware: HARDWARE },
    write: (data, offset) => onDisk(hypervisor, 'os', (guest) => guest.write(data, offset)),
    contentOf: (disk) => onDisk(hypervisor, disk, contentOf),
  };
});

/** Recovery compute, with a recovery point of a VM that has not been made yet, whose disks have changed since. */
async function startCompute(point: ReadonlyMap<string, Buffer>, epoch: number) {
  const folder = await temporaryFolder();
  const store = await EmbeddedReplicaStore.open(join(folder, 'store'), { create: true });
  const fence = { epoch: epoch - 1, sequence: 1 };
  const disks: [string, { size: number; snapshot: string }][] = [];
  for (const [name, bytes] of point) {
    const disk = { vm: VM, disk: name };
    await store.disks.create(disk, replicaSizeOf(bytes.length), fence);
    await writeDisk(store.disks, disk, [{ offset: 0, data: bytes }], fence);
    const snapshot = await store.disks.snapshot(disk, fence);
    await writeDisk(store.disks, disk, [{ offset: 0, data: Buffer.alloc(MiB, 0xee) }], fence);
    disks.push([name, { size: bytes.length, snapshot }]);
  }

  const config = configOf(folder, { recovery: { store: { kind: 'embedded', path: join(folder, 'store') } } });
  const restart = await restartable(async () => {
    const embedded = await EmbeddedRecoveryCompute.open(config, store, quiet);
    return [await serveRecoveryCompute(config.controlSocket, embedded, quiet), embedded];
  });
  const compute = new RecoveryComputeClient(config.controlSocket, store.disks);
  return { compute, store, restart, spec: computeSpec(VM, Object.fromEntries(disks), epoch) };
}

recoveryComputeContract('the embedded recovery compute', async () => {
  const point = new Map([['os', content(2 * MiB + 512, 4)]]);
  const { compute, store, restart, spec } = await startCompute(point, 4);
  return {
    ...{ compute, point, spec, restart },
    raiseFence: (epoch) => store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch, sequence: 0 }),
    contents: async () => new Map([['os', await onDisk(compute, 'os', contentOf)]]),
    write: (data, offset) => onDisk(compute, 'os', (guest) => guest.write(data, offset)),
  };
});

changeSourceContract('the embedded recovery compute', async () => {
  const zeroes = Object.entries(DISKS).map(([name, size]) => [name, Buffer.alloc(size)] as const);
  const { compute, spec } = await startCompute(new Map(zeroes), 1);
  await compute.createVm(spec);
  await compute.startVm(VM, 1);
  return {
    ...{ source: compute, vm: VM, disks: DISKS },
    write: (disk, data, offset) => onDisk(compute, disk, (guest) => guest.write(data, offset)),
    contentOf: (disk) => onDisk(compute, disk, contentOf),
    shutDown: () => compute.turnOffVm(VM),
  };
});

testVmsContract('the embedded recovery compute', async () => {
  const point = new Map([['os', content(2 * MiB + 512, 4)]]);
  const { compute, store, restart, spec } = await startCompute(point, 4);
  const onTest = async <T>(name: string, work: (guest: NbdGuest) => Promise<T>) =>
    onDiskOf(await compute.listTestVms(), name, 'os', work);
  return {
    ...{ compute, point, spec, restart },
    raiseFence: (epoch) => store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch, sequence: 0 }),
    ofReplica: () => onDisk(compute, 'os', contentOf),
    contentOf: (name) => onTest(name, contentOf),
    write: (name, data, offset) => onTest(name, (guest) => guest.write(data, offset)),
  };
});
