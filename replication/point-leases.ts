/**
 * Leases protect data that is read for a long time from pruning. Before choosing a recovery point, a reader takes a
 * lease on everything of the VM; afterwards, on that point and the cycles after it. A lease ends with the work or, if
 * the reader died, after an hour. Pruning reads the leases before it deletes records, and again before it deletes
 * snapshots, so a point that existed when its lease was taken stays readable.
 */
import { randomUUID } from 'node:crypto';
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import { cycleName } from '../domain/ids.js';
import { toIso, toMs } from '../domain/time.js';
import { leaseSchema, vaultPaths, type Lease, type RecoveryPoint, type TestHold } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { readFenceIfWhole, vmFence } from './replica-state.js';
import { readTestHold } from './test-hold.js';
import { encodeRecord, readRecord } from './vault-record.js';

/** Milliseconds. */
const LEASE_MS = 3_600_000;
const RENEWED_MS = LEASE_MS / 6;
/** How many times taking a lease is tried while others raise the fence. */
const ATTEMPTS = 5;

export interface HeldLease {
  /** From now on, everything except this point and the cycles after it may be deleted. */
  narrow(point: RecoveryPoint): Promise<void>;
}

/** Runs work under a lease. A store that is not writable is read without one. */
export async function withLease<T>(store: RecordStore, vm: string, work: (lease: HeldLease) => Promise<T>): Promise<T> {
  const name = vaultPaths.lease(vm, randomUUID());
  let of: Lease['of'];
  let last: Promise<void> = Promise.resolve();
  /** Writes run one after the other, so that none comes after the lease was released. */
  const write = async () => {
    const lease = { until: toIso(Date.now() + LEASE_MS), ...(of && { of }) };
    const put = async (fence: WriteFence) => await store.objects.put(name, encodeRecord(leaseSchema, lease), fence);
    last = last.catch(() => undefined).then(async () => await fenced(store, vm, put));
    await last;
  };
  await write();
  // If a renewal fails, most of the lease's time is left, and the next attempt follows.
  const renewal = setInterval(() => void write().catch(() => undefined), RENEWED_MS).unref();
  try {
    return await work({
      narrow: async ({ id, epoch, sequence, disks }) => {
        of = { id, epoch, sequence, disks };
        await write();
      },
    });
  } finally {
    clearInterval(renewal);
    await last.catch(() => undefined);
    await fenced(store, vm, async (fence) => await store.objects.delete(name, fence));
  }
}

/** Does nothing if the store is not writable. @throws CatalogueError for other failures. */
async function fenced(store: RecordStore, vm: string, write: (fence: WriteFence) => Promise<void>): Promise<void> {
  try {
    await underCurrentFence(store, vm, write);
  } catch (error) {
    if (!(error instanceof CatalogueError) || !isUnwritable(error)) throw error;
  }
}

/**
 * Writes under the VM's current fence, again if it is raised meanwhile: for records that any holder may write. Does
 * nothing while the fence is damaged, because then nobody prunes below it. @throws CatalogueError
 */
export async function underCurrentFence(
  store: RecordStore,
  vm: string,
  write: (fence: WriteFence) => Promise<void>,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const fence = await readFenceIfWhole(store, vm);
      return fence && (await write(vmFence(vm, fence)));
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'StaleEpoch' || attempt === ATTEMPTS) throw error;
    }
  }
}

/** Whether a write may have failed because the store is read-only from here. */
export const isUnwritable = ({ code }: CatalogueError): boolean => UNWRITABLE.includes(code);
const UNWRITABLE: readonly string[] = ['StoreUnreachable', 'AuthorizationFailed', 'StoreFull', 'StoreBusy'];

export class Leases {
  /** @param hold of a test VM; it runs from its point and needs no cycles. */
  constructor(
    private readonly leases: readonly Lease[],
    private readonly hold?: TestHold,
  ) {}

  /** A reader is choosing a point right now. */
  get keepAll(): boolean {
    return this.leases.some(({ of }) => !of);
  }

  /** Ids of the points that are being read. */
  get read(): string[] {
    return this.leases.flatMap(({ of }) => of?.id ?? []);
  }

  get points(): string[] {
    return this.#held().map(({ id }) => id);
  }

  snapshotsOf(disk: string): string[] {
    const named = this.#held().flatMap(({ disks }) => disks.filter(({ name }) => name === disk));
    return named.map(({ snapshot }) => snapshot);
  }

  /** The name of the first cycle to keep: the wanted one, or an earlier one that is being read. */
  firstCycle(wanted: string): string {
    const next = ({ epoch, sequence }: Fence) => cycleName(epoch, sequence + 1);
    return [wanted, ...this.leases.flatMap(({ of }) => (of ? [next(of)] : []))].toSorted()[0]!;
  }

  #held(): NonNullable<Lease['of']>[] {
    return [...this.leases.flatMap(({ of }) => of ?? []), ...(this.hold ? [this.hold.of] : [])];
  }
}

/**
 * The leases in force, and the hold of a test VM. A lease that is unreadable, or ends later than any valid lease can, is ignored.
 * @param fence its holder deletes the leases of dead readers. @throws CatalogueError StaleEpoch
 */
export async function readLeases(store: RecordStore, vm: string, fence?: WriteFence): Promise<Leases> {
  const held: Lease[] = [];
  let hold: TestHold | undefined;
  for (const name of await store.objects.list(vaultPaths.leasePrefix(vm))) {
    if (name === vaultPaths.testHold(vm)) {
      hold = await readTestHold(store, vm);
      continue;
    }
    const lease = await readLease(store, name);
    if (lease && isHeld(lease)) held.push(lease);
    else if (fence) await store.objects.delete(name, fence);
  }
  return new Leases(held, hold);
}

/** Names of the leases whose readers have died. */
export async function deadLeases(store: RecordStore, vm: string): Promise<string[]> {
  const dead: string[] = [];
  for (const name of await store.objects.list(vaultPaths.leasePrefix(vm))) {
    if (name === vaultPaths.testHold(vm)) continue;
    const lease = await readLease(store, name);
    if (!lease || !isHeld(lease)) dead.push(name);
  }
  return dead;
}

/** By this machine's clock; a lease written by a clock that runs ahead must not protect everything forever. */
function isHeld({ until }: Lease): boolean {
  const left = toMs(until) - Date.now();
  return left > 0 && left <= 2 * LEASE_MS;
}

async function readLease(store: RecordStore, name: string): Promise<Lease | undefined> {
  try {
    return await readRecord(store.objects, name, leaseSchema);
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  }
}
