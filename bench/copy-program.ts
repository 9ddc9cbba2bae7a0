/**
 * A disk brought to its replica by a process of its own: `copy-program initial|resync SOURCE STORE EPOCH`. Does what the
 * activities of agent and Azure worker do, one after the other, and prints how long it took and what was sent.
 */
import { RawDisk } from '../disks/raw.js';
import { prepareReplica, replicaSizeOf } from '../replication/replica.js';
import { beginResync } from '../replication/resync.js';
import { copySlice } from '../replication/seed.js';
import { digestReplica } from '../replication/target-digests.js';
import { verifySeed } from '../replication/verify-seed.js';
import { EmbeddedReplicaStore } from '../sites/embedded/replica-store.js';

export interface CopyReport {
  /** Of a resynchronization, at the replica; 0 of an initial copy. */
  readonly digestSeconds: number;
  readonly copySeconds: number;
  readonly verifySeconds: number;
  /** Block content sent. */
  readonly sentBytes: number;
  readonly digestBytes: number;
}

const VM = 'bench-01';
const DISK = 'os';
/** Bytes read by one call, as the agent's activity does. */
const COPY_STEP_BYTES = 256 * 1024 * 1024;

async function main(kind: string, sourceFile: string, storeFolder: string, epoch: number): Promise<CopyReport> {
  const started = performance.now();
  const fence = { epoch, sequence: 0 };
  const store = await EmbeddedReplicaStore.open(storeFolder, { create: true });
  const source = await RawDisk.open(sourceFile, { readOnly: true });
  let digestBytes = 0;
  if (kind === 'resync') {
    await beginResync(store, { vm: VM, epoch, disks: [{ name: DISK, size: source.size }] });
    ({ digestBytes } = await digestReplica(store, { vm: VM, disk: DISK, epoch }));
  } else await prepareReplica(store, describe(source.size, epoch), fence);
  const digested = performance.now();
  let sentBytes = 0;
  for (let offset = 0; offset < source.size;) {
    const task = { vm: VM, disk: DISK, fromOffset: offset, maxBytes: COPY_STEP_BYTES, fence };
    const copied = await copySlice(store, source, task);
    offset = copied.nextOffset;
    sentBytes += copied.dataBytes;
  }
  const copied = performance.now();
  const { seedComplete } = await verifySeed(store, { vm: VM, disk: DISK, epoch });
  if (!seedComplete) throw new Error('the copy is not complete');
  const verified = performance.now();
  await source.close();
  await store.close();
  return {
    digestSeconds: (digested - started) / 1000,
    copySeconds: (copied - digested) / 1000,
    verifySeconds: (verified - copied) / 1000,
    sentBytes,
    digestBytes,
  };
}

const describe = (size: number, epoch: number) => ({
  vm: VM,
  host: 'hyperv-01',
  vmmServer: 'vmm-01',
  epoch,
  generation: 2 as const,
  size: 'Standard_D2s_v5',
  osDisk: DISK,
  disks: [{ name: DISK, size, replicaSize: replicaSizeOf(size) }],
  networkAdapters: [],
  finalized: false,
});

const [kind, source, store, epoch] = process.argv.slice(2) as [string, string, string, string];
process.stdout.write(`${JSON.stringify(await main(kind, source, store, Number(epoch)))}\n`);
