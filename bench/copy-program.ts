/**
 * Copies a disk to its replica, or resynchronizes it, in a separate process: `copy-program initial|resync SOURCE STORE
 * EPOCH`, where STORE is a folder or the address of a container. It makes the same calls as the activities of the agent
 * and the Azure worker, in the workflow's order, and prints how long they took and how much was sent.
 */
import type { StoreAddress } from '../domain/store-address.js';
import { RawDisk } from '../disks/raw.js';
import { prepareReplica, replicaSizeOf } from '../replication/replica.js';
import { beginResync } from '../replication/resync.js';
import { copySlice } from '../replication/seed.js';
import { digestReplica } from '../replication/target-digests.js';
import { verifySeed } from '../replication/verify-seed.js';
import { openReplicaStore } from '../local/open-replica-store.js';

export interface CopyReport {
  /**
   * For a resynchronization: time until all of the replica was digested; most of it was compared in the meantime. 0 for
   * an initial copy.
   */
  readonly digestSeconds: number;
  /** Time from then until the copy was complete. */
  readonly copySeconds: number;
  readonly verifySeconds: number;
  /** Bytes of block contents that were sent. */
  readonly sentBytes: number;
  readonly digestBytes: number;
}

const VM = 'bench-01';
const DISK = 'os';
/** Bytes that one call reads, as in the agent's activity. */
const COPY_STEP_BYTES = 256 * 1024 * 1024;
/** Limit of the first call; as in the workflow, each further call gets twice as long. */
const FIRST_STRETCH_MS = 1_000;

async function main(kind: string, sourceFile: string, storePlace: string, epoch: number): Promise<CopyReport> {
  const fence = { epoch, sequence: 0 };
  const store = await openReplicaStore(addressOf(storePlace), { create: true });
  const source = await RawDisk.open(sourceFile, { readOnly: true });
  const started = performance.now();
  const copied = { offset: 0, bytes: 0 };
  const copyUpTo = async (toOffset: number): Promise<void> => {
    while (copied.offset < Math.min(toOffset, source.size)) {
      const task = { vm: VM, disk: DISK, fromOffset: copied.offset, toOffset, maxBytes: COPY_STEP_BYTES, fence };
      const { nextOffset, dataBytes } = await copySlice(store, source, task);
      copied.offset = nextOffset;
      copied.bytes += dataBytes;
    }
  };
  let digestBytes = 0;
  if (kind === 'resync') {
    await beginResync(store, { vm: VM, epoch, disks: [{ name: DISK, size: source.size }] });
    let digested = 0;
    for (let done = false, forMs = FIRST_STRETCH_MS; !done; forMs *= 2) {
      const until = performance.now() + forMs;
      const task = { vm: VM, disk: DISK, epoch, fromOffset: digested };
      const [digests] = await Promise.all([
        digestReplica(store, task, { enough: () => performance.now() >= until }),
        copyUpTo(digested),
      ]);
      ({ done, nextOffset: digested } = digests);
      digestBytes += digests.digestBytes;
    }
  } else await prepareReplica(store, describe(source.size, epoch), fence);
  const digestedAt = performance.now();
  await copyUpTo(Infinity);
  const copiedAt = performance.now();
  const { seedComplete } = await verifySeed(store, { vm: VM, disk: DISK, epoch });
  if (!seedComplete) throw new Error('the copy is not complete');
  const verified = performance.now();
  await source.close();
  await store.close();
  return {
    digestSeconds: (digestedAt - started) / 1000,
    copySeconds: (copiedAt - digestedAt) / 1000,
    verifySeconds: (verified - copiedAt) / 1000,
    sentBytes: copied.bytes,
    digestBytes,
  };
}

const addressOf = (place: string): StoreAddress =>
  place.startsWith('http') ? { kind: 'azure', url: place } : { kind: 'embedded', path: place };

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
