/**
 * The initial copy of one disk as a process of its own: `initial-copy-program SOURCE STORE`. Does what the activities of
 * agent and Azure worker do, one after the other, and prints the times it took.
 */
import { RawDisk } from '../disks/raw.js';
import { prepareReplica, replicaSizeOf } from '../replication/replica.js';
import { copySlice } from '../replication/seed.js';
import { verifySeed } from '../replication/verify-seed.js';
import { EmbeddedReplicaStore } from '../sites/embedded/replica-store.js';

const VM = 'bench-01';
const DISK = 'os';
const EPOCH = 1;
/** Bytes read by one call, as the agent's activity does. */
const COPY_STEP_BYTES = 256 * 1024 * 1024;

async function main(sourceFile: string, storeFolder: string): Promise<void> {
  const started = performance.now();
  const fence = { epoch: EPOCH, sequence: 0 };
  const store = await EmbeddedReplicaStore.open(storeFolder, { create: true });
  const source = await RawDisk.open(sourceFile, { readOnly: true });
  await prepareReplica(store, describe(source.size), fence);
  for (let offset = 0; offset < source.size;) {
    const task = { vm: VM, disk: DISK, fromOffset: offset, maxBytes: COPY_STEP_BYTES, fence };
    offset = (await copySlice(store, source, task)).nextOffset;
  }
  const copied = performance.now();
  const { seedComplete } = await verifySeed(store, { vm: VM, disk: DISK, epoch: EPOCH });
  if (!seedComplete) throw new Error('the initial copy is not complete');
  const verified = performance.now();
  await source.close();
  await store.close();
  const times = { copySeconds: (copied - started) / 1000, verifySeconds: (verified - copied) / 1000 };
  process.stdout.write(`${JSON.stringify(times)}\n`);
}

const describe = (size: number) => ({
  vm: VM,
  host: 'hyperv-01',
  vmmServer: 'vmm-01',
  epoch: EPOCH,
  generation: 2 as const,
  size: 'Standard_D2s_v5',
  osDisk: DISK,
  disks: [{ name: DISK, size, replicaSize: replicaSizeOf(size) }],
  networkAdapters: [],
  finalized: false,
});

await main(process.argv[2]!, process.argv[3]!);
