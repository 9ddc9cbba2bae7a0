/** What the store holds of a VM besides its replica and recovery points, and how that is removed. */
import { CatalogueError } from '../domain/errors.js';
import { LAST_SEQUENCE } from '../domain/fence.js';
import { cycleName } from '../domain/ids.js';
import { isReplicaRecord, type Held, type HeldKind, type VmClaims } from '../domain/unclaimed.js';
import { fenceOfPointId, vaultPaths, type ReplicaDescription } from '../domain/vault.js';
import type { ListedObject, WriteFence } from '../ports/objects.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { deleteCyclesAfter } from './cycles.js';
import { allDiskNames } from './former-disks.js';
import { deadLeases } from './point-leases.js';
import { prunable, pruneRecoveryPoints } from './recovery-points.js';
import { readDescription, readVaultState } from './replica-state.js';
import { deleteSeedRecords } from './seed-record.js';
import { readTestHold } from './test-hold.js';
import { releaseTestPoint } from './test-point.js';
import { endVerification } from './verify.js';

/** What the vault says about a VM. @throws CatalogueError InvalidReplicaState if that is damaged. */
export async function vaultClaims(store: RecordStore, vm: string): Promise<Omit<VmClaims, 'item'>> {
  const description = await readDescription(store, vm);
  const { epoch, unprotectedAt } = description ?? {};
  return {
    replica: epoch === undefined ? undefined : { epoch, ...(unprotectedAt !== undefined && { unprotectedAt }) },
    state: await readVaultState(store, vm),
    isStoreKnown: true,
  };
}

const VMS_IN_FLIGHT = 8;

/**
 * Everything of these VMs that may have been left behind. A VM whose records are damaged is left out.
 * @param hasTestVm whether the VM has a test VM, which runs from the held point; undefined if that is unknown.
 * @throws CatalogueError StoreUnreachable
 */
export async function heldInStore(
  store: ReplicaStore,
  vms: readonly string[],
  hasTestVm: (vm: string) => boolean | undefined,
): Promise<Held[]> {
  const held: Held[] = [];
  await inParallel(vms, VMS_IN_FLIGHT, async (vm) => {
    try {
      held.push(...(await heldOf(store, vm, hasTestVm(vm))));
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
    }
  });
  return held;
}

async function heldOf(store: ReplicaStore, vm: string, hasTestVm: boolean | undefined): Promise<Held[]> {
  const description = await readDescription(store, vm);
  const objects = await store.objects.listSizes(`${vaultPaths.vm(vm)}/`);
  const below = (...prefixes: readonly string[]) =>
    objects.filter(({ name }) => prefixes.some((prefix) => name.startsWith(prefix)));
  const held: (Held | undefined)[] = [];
  const hold = await readTestHold(store, vm);
  if (hold && hasTestVm === false) held.push({ kind: 'testHold', vm, since: hold.since });
  held.push(sumOf('evidence', vm, await strayEvidence(store, vm)));
  if (!description) {
    const rest = objects.filter(({ name }) => name !== vaultPaths.testHold(vm) && !isTestHoldCopy(vm, name));
    // If there are points or cycles, it is the description that was lost: nothing may be deleted.
    if (!rest.some(({ name }) => isReplicaRecord(vm, name))) held.push(sumOf('records', vm, rest));
    return held.filter((one) => one !== undefined);
  }
  held.push(changeSets(description, objects));
  held.push(sumOf('copyRecords', vm, below(...copyPrefixes(vm))));
  held.push(sumOf('verificationRecords', vm, below(vaultPaths.verification(vm))));
  const dead = new Set(await deadLeases(store, vm));
  held.push(
    sumOf(
      'leases',
      vm,
      objects.filter(({ name }) => dead.has(name)),
    ),
  );
  const { snapshots, formerDisks } = await prunable(store, description);
  if (snapshots > 0) held.push({ kind: 'snapshots', vm, name: `(${snapshots})` });
  if (formerDisks.length > 0) held.push({ kind: 'formerDisks', vm, name: formerDisks.join(', ') });
  if (description.unprotectedAt !== undefined) held.push(await keptReplica(store, description));
  return held.filter((one) => one !== undefined);
}

/**
 * Removes what `heldInStore` has listed. Repeatable. @param fence the VM's, read before it was found that nothing
 * claims the thing: whoever begins an epoch after that shuts this removal out. @throws CatalogueError StaleEpoch
 */
export async function removeFromStore(
  store: ReplicaStore,
  { kind, vm }: Pick<Held, 'kind' | 'vm'>,
  fence: WriteFence,
): Promise<void> {
  const { epoch } = fence;
  switch (kind) {
    case 'changeSets': {
      const description = await readDescription(store, vm);
      if (description) await deleteCyclesAfter(store, vm, description.epoch, fence);
      return;
    }
    case 'copyRecords':
      return await deleteSeedRecords(store, vm, fence);
    case 'verificationRecords':
      return await endVerification(store, { vm, epoch });
    case 'testHold':
      return void (await releaseTestPoint(store, vm));
    case 'leases':
    case 'snapshots':
    case 'formerDisks':
      // Deletes no recovery point: none is older than the beginning of time.
      return void (await pruneRecoveryPoints(store, { vm, epoch, retainedFrom: -Infinity }));
    case 'evidence': {
      const ofJobs = { scope: JOBS, epoch: 0, sequence: 0 };
      for (const { name } of await strayEvidence(store, vm)) await store.objects.delete(name, ofJobs);
      return;
    }
    case 'records':
      return await removeRecords(store, vm, fence);
    default:
      throw new Error(`the store holds no ${kind}`);
  }
}

/** The scope of job records, whose fence never rises. */
const JOBS = 'jobs';

/** What was kept of test VMs by jobs that left no record. */
async function strayEvidence(store: RecordStore, vm: string): Promise<ListedObject[]> {
  const prefix = vaultPaths.allEvidence(vm);
  const kept = await store.objects.listSizes(prefix);
  if (kept.length === 0) return [];
  const recorded = new Set((await store.objects.list(vaultPaths.jobs(vm))).map((name) => name.split('/').at(-1)));
  return kept.filter(({ name }) => !recorded.has(`${name.slice(prefix.length).split('/', 1)[0]}.json`));
}

/** Of a VM without a description. */
async function removeRecords(store: RecordStore, vm: string, fence: WriteFence): Promise<void> {
  const names = await store.objects.list(`${vaultPaths.vm(vm)}/`);
  if (names.some((name) => isReplicaRecord(vm, name)) || (await readDescription(store, vm)))
    throw new CatalogueError('InvalidReplicaState', `${vm}: there is a replica, whose records are not left over`);
  await inParallel(names, 8, (name) => store.objects.delete(name, fence));
}

/** The cycles of epochs after the replica's. */
function changeSets({ vm, epoch }: ReplicaDescription, objects: readonly ListedObject[]): Held | undefined {
  const prefix = vaultPaths.cyclePrefix(vm);
  const last = cycleName(epoch, LAST_SEQUENCE);
  const cycleOf = (name: string) => {
    const at = [prefix, vaultPaths.second(prefix)].find((one) => name.startsWith(one));
    return at === undefined ? undefined : name.slice(at.length).split('/', 1)[0]!;
  };
  const later = objects.filter(({ name }) => (cycleOf(name) ?? '') > last);
  const found = sumOf('changeSets', vm, later);
  const newest = later
    .map(({ name }) => cycleOf(name)!)
    .toSorted()
    .at(-1);
  return found && { ...found, epoch: fenceOfPointId(newest!)?.epoch ?? epoch + 1 };
}

const copyPrefixes = (vm: string): readonly string[] => [
  vaultPaths.verifiedDisks(vm),
  vaultPaths.seeds(vm),
  vaultPaths.allTargetDigests(vm),
];

const isTestHoldCopy = (vm: string, name: string): boolean => name === vaultPaths.second(vaultPaths.testHold(vm));

async function keptReplica(store: ReplicaStore, description: ReplicaDescription): Promise<Held> {
  const { vm, unprotectedAt } = description;
  const sizes = await Promise.all(allDiskNames(description).map((disk) => store.disks.size({ vm, disk })));
  const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
  return { kind: 'replica', vm, bytes, since: unprotectedAt! };
}

/** Their size together, and the age of the newest; undefined if there are none. */
function sumOf(kind: HeldKind, vm: string, objects: readonly ListedObject[]): Held | undefined {
  if (objects.length === 0) return undefined;
  const since = objects
    .flatMap(({ writtenAt }) => writtenAt ?? [])
    .toSorted()
    .at(-1);
  const bytes = objects.reduce((sum, object) => sum + object.bytes, 0);
  return { kind, vm, bytes, ...(since !== undefined && { since }) };
}
