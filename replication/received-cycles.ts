/**
 * The cycles that have arrived, and whether they can be used. The same checks apply to every use of a manifest:
 * applying, exporting, failing over, or continuing after it.
 */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, type Fence } from '../domain/fence.js';
import {
  fenceOfPointId,
  vaultPaths,
  type AppliedState,
  type CycleManifest,
  type ReplicaDescription,
} from '../domain/vault.js';
import type { RecordStore } from '../ports/replica-store.js';
import { listKept } from './kept-record.js';
import { readUnlessAway } from './point-records.js';
import { readApplied } from './replica-state.js';
import { readManifest } from './ship.js';

export interface ReceivedCycles {
  /** Usable cycles that follow a state without a gap, oldest first. */
  readonly cycles: readonly CycleManifest[];
  /** Why the next cycle cannot be used although it or a later one has arrived. */
  readonly stoppedBy?: string;
}

/** The last writes to a replica's disks: of the last applied cycle, or of a cycle on top of it. */
type LastWrites = Pick<AppliedState, 'disks'>;

/** @param applied in any epoch; undefined if no cycle was applied. @throws CatalogueError StoreUnreachable */
export async function cyclesAfter(
  store: RecordStore,
  description: ReplicaDescription,
  applied: (Fence & LastWrites) | undefined,
): Promise<ReceivedCycles> {
  const { vm, epoch } = description;
  const cycles: CycleManifest[] = [];
  const start = applied?.epoch === epoch ? applied : undefined;
  let last: LastWrites | undefined = start;
  try {
    for (let sequence = (start?.sequence ?? 0) + 1; ; sequence += 1) {
      const cycle = { epoch, sequence };
      const manifest = await readUnlessAway(store, vm, () => readManifest(store, vm, cycle));
      if (!manifest) return { cycles, ...(await lossAt(store, vm, cycle, start)) };
      checkManifest(manifest, { vm, ...cycle }, description, last);
      cycles.push(manifest);
      last = manifest;
    }
  } catch (error) {
    return { cycles, stoppedBy: unusable(error) };
  }
}

/**
 * If a manifest is missing although a later one exists, it was lost, unless it appeared or disappeared during this
 * check.
 */
async function lossAt(
  store: RecordStore,
  vm: string,
  { epoch, sequence }: Fence,
  start: Fence | undefined,
): Promise<Pick<ReceivedCycles, 'stoppedBy'>> {
  const newest = (await receivedCycles(store, vm)).findLast((cycle) => cycle.epoch === epoch);
  if (!newest || newest.sequence < sequence) return {};
  const now = await readApplied(store, vm);
  const isSame = (now?.epoch === epoch ? now.sequence : 0) === (start?.sequence ?? 0);
  if (!isSame || (await readManifest(store, vm, { epoch, sequence }))) return {};
  return { stoppedBy: `${vaultPaths.manifest(vm, epoch, sequence)} is missing, but later ones exist` };
}

/** All cycles that have a manifest, whatever its content, oldest first. */
export async function receivedCycles(store: RecordStore, vm: string): Promise<Fence[]> {
  const prefix = vaultPaths.cyclePrefix(vm);
  const names = await listKept(store.objects, prefix);
  return names.flatMap((name) => {
    const [cycle, file] = name.slice(prefix.length).split('/');
    return file === 'manifest.json' ? (fenceOfPointId(cycle!) ?? []) : [];
  });
}

/** `damaged`: the cycle exists, but its content is unknown. @throws CatalogueError StoreUnreachable */
export async function findManifest(
  store: RecordStore,
  vm: string,
  cycle: Fence,
): Promise<CycleManifest | 'damaged' | undefined> {
  try {
    return await readUnlessAway(store, vm, () => readManifest(store, vm, cycle));
  } catch (error) {
    unusable(error);
    return 'damaged';
  }
}

/** For callers that treat a damaged manifest like a missing one. @throws CatalogueError StoreUnreachable */
export async function readManifestIfWhole(
  store: RecordStore,
  vm: string,
  cycle: Fence,
): Promise<CycleManifest | undefined> {
  const found = await findManifest(store, vm, cycle);
  return found === 'damaged' ? undefined : found;
}

/** Why a cycle that has arrived is useless, from the error of using it. @throws any error with another meaning. */
export function unusable(error: unknown): string {
  if (error instanceof CatalogueError && UNUSABLE.includes(error.code)) return error.message;
  throw error;
}

const UNUSABLE: readonly string[] = ['LogBroken', 'OutOfSequence', 'InvalidReplicaState'];

/**
 * Is this the requested cycle, with the replica's disks, and the next one after their state?
 * @throws CatalogueError InvalidReplicaState, OutOfSequence
 */
export function checkManifest(
  manifest: CycleManifest,
  task: Fence & { readonly vm: string },
  description: ReplicaDescription,
  last: LastWrites | undefined,
): void {
  const refused = (problem: string) =>
    new CatalogueError('InvalidReplicaState', `${task.vm}: the manifest of ${formatFence(task)} ${problem}`);
  if (manifest.vm !== task.vm || manifest.epoch !== task.epoch || manifest.sequence !== task.sequence) {
    throw refused(`says it is of ${manifest.vm}, ${formatFence(manifest)}`);
  }
  const disks = (some: readonly { name: string; size: number }[]) =>
    some
      .map(({ name, size }) => `${name} of ${size} bytes`)
      .sort()
      .join(', ');
  if (disks(manifest.disks) !== disks(description.disks)) {
    throw refused(`is of ${disks(manifest.disks)}, the replica of ${disks(description.disks)}`);
  }
  for (const { name, lastWrite } of manifest.disks) {
    const before = last?.disks.find((disk) => disk.name === name)?.lastWrite ?? 0;
    if (lastWrite >= before) continue;
    throw new CatalogueError(
      'OutOfSequence',
      `${task.vm}/${name}: ${formatFence(task)} ends with write ${lastWrite}, the replica is at write ${before}`,
    );
  }
}
