/**
 * The cycles that have arrived, and what of them may be used: the same is asked of a manifest whoever wants to use it, to
 * apply it, to export it, to fail over to it, or to go on after it.
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
  /** Those that follow a state without a gap, and can be used, oldest first. */
  readonly cycles: readonly CycleManifest[];
  /** Why the one after them can't, though it or a later one has arrived. */
  readonly stoppedBy?: string;
}

/** Where the writes of a replica's disks have come to: what was applied last, or a cycle on top of it. */
type LastWrites = Pick<AppliedState, 'disks'>;

/** @param applied of whatever epoch; undefined when nothing was. @throws CatalogueError StoreUnreachable */
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

/** A manifest that is not there though one after it is was lost, unless it came or went while this was looked at. */
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

/** All that have a manifest, whatever is in it, oldest first. */
export async function receivedCycles(store: RecordStore, vm: string): Promise<Fence[]> {
  const prefix = vaultPaths.cyclePrefix(vm);
  const names = await listKept(store.objects, prefix);
  return names.flatMap((name) => {
    const [cycle, file] = name.slice(prefix.length).split('/');
    return file === 'manifest.json' ? (fenceOfPointId(cycle!) ?? []) : [];
  });
}

/** `damaged`: the cycle exists, and nobody can tell what it was. @throws CatalogueError StoreUnreachable */
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

/** For whom one that is damaged is as good as none. @throws CatalogueError StoreUnreachable */
export async function readManifestIfWhole(
  store: RecordStore,
  vm: string,
  cycle: Fence,
): Promise<CycleManifest | undefined> {
  const found = await findManifest(store, vm, cycle);
  return found === 'damaged' ? undefined : found;
}

/** Why a cycle that has arrived is of no use, by what working with it has thrown. @throws the error, when it says something else. */
export function unusable(error: unknown): string {
  if (error instanceof CatalogueError && UNUSABLE.includes(error.code)) return error.message;
  throw error;
}

const UNUSABLE: readonly string[] = ['LogBroken', 'OutOfSequence', 'InvalidReplicaState'];

/**
 * Is this the cycle that was asked for, of the replica's disks, and on top of what they hold?
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
