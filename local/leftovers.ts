/**
 * What both sites and the store hold that no VM of the vault claims: found, and removed. A thing counts as left over
 * only if it was there before and after its VM was looked at, because a job may have ended, and cleaned up, in between.
 */
import { CatalogueError } from '../domain/errors.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { hostsOf, type Site } from '../domain/site.js';
import {
  heldKinds,
  leftoverId,
  sortHeld,
  verdictOn,
  type Held,
  type KeptThing,
  type Leftover,
  type VmClaims,
} from '../domain/unclaimed.js';
import { vaultPaths } from '../domain/vault.js';
import { heldInStore, removeFromStore, vaultClaims } from '../replication/held-in-store.js';
import { vmFence } from '../replication/replica-state.js';
import { readTestHold } from '../replication/test-hold.js';
import { releaseTestPoint } from '../replication/test-point.js';
import { vaultVms } from '../replication/vault-survey.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/hypervisor/control-client.js';
import type { Hypervisor } from '../ports/hypervisor.js';
import type { HypervisorVm } from '../ports/hypervisor-vm.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import type { VmFileKeeper, VmFiles } from '../ports/vm-files.js';
import type { TestVm } from '../ports/test-vms.js';
import type { DataFolder } from '../config/data-folder.js';
import { soon } from './local-site.js';
import { withReplicaStore } from './open-replica-store.js';

/** What is looked through. */
export interface Places {
  readonly store: ReplicaStore;
  readonly compute: RecoveryCompute & VmFileKeeper;
  readonly hosts: ReadonlyMap<string, Hypervisor & VmFileKeeper>;
  /** The VMs that the site file names. */
  readonly siteVms: readonly string[];
}

/** The newest state of a VM; undefined if it is not protected. */
export type ItemOf = (vm: string) => Promise<ProtectedItem | undefined>;

export type { KeptThing, Leftover } from '../domain/unclaimed.js';

export interface FoundLeftovers {
  readonly leftovers: readonly Leftover[];
  /** Kept on purpose after protection ended. */
  readonly kept: readonly KeptThing[];
  /** Hosts that did not answer, and `recovery` if the recovery compute did not: what they hold is unknown. */
  readonly unknown: readonly string[];
}

/** The id names nothing that may be removed, and why. The message is complete. */
export class LeftoverRefused extends Error {
  override readonly name = 'LeftoverRefused';
}

/**
 * The places that this machine reaches. @throws CatalogueError StoreUnreachable, ForeignVault
 */
export async function withPlaces<T>(site: Site, data: DataFolder, work: (places: Places) => Promise<T>): Promise<T> {
  const hosts = hostsOf(site).map(({ name }) => name);
  const open = async (store: ReplicaStore) =>
    await work({
      store,
      siteVms: site.vms.map(({ name }) => name),
      compute: new RecoveryComputeClient(data.recoveryControl()),
      hosts: new Map(hosts.map((host) => [host, new HypervisorClient(data.hypervisorControl(host))])),
    });
  return await withReplicaStore(site.vault.store, open, { vault: site.vault.name });
}

/** @throws CatalogueError StoreUnreachable */
export async function findLeftovers(places: Places, itemOf: ItemOf): Promise<FoundLeftovers> {
  const { held, unknown } = await look(places);
  const claims = new Map<string, VmClaims>();
  for (const vm of new Set(held.map((thing) => thing.vm))) claims.set(vm, await claimsOn(places, itemOf, vm));
  const { leftovers, kept } = sortHeld(held, claims);
  if (leftovers.length === 0) return { leftovers, kept, unknown };
  const still = new Set((await look(places)).held.map(leftoverId));
  return { leftovers: leftovers.filter(({ id }) => still.has(id)), kept, unknown };
}

/**
 * Looks again, and removes it if nothing claims it. Repeatable: a removal that died is continued.
 * @throws LeftoverRefused if there is no such leftover, if it is claimed by now, or if a job takes over meanwhile.
 */
export async function removeLeftover(places: Places, itemOf: ItemOf, id: string): Promise<Leftover> {
  const vm = id.split('/')[1] ?? '';
  // Before anything else: whoever begins an epoch after this shuts the removal out.
  const fence = vmFence(vm, await places.store.objects.readFence(vaultPaths.vm(vm)));
  const { held, unknown } = await look(places);
  const thing = held.find((one) => leftoverId(one) === id);
  if (!thing) {
    const place = id.split('/')[0]!;
    if (unknown.includes(place)) throw new LeftoverRefused(`${id}: ${place} does not answer here`);
    throw new LeftoverRefused(`there is no leftover ${id}; list them with: farshore leftovers`);
  }
  const claims = await claimsOn(places, itemOf, vm);
  const verdict = verdictOn(thing, claims);
  if (verdict.is === 'claimed') throw new LeftoverRefused(`${id} is in use: ${verdict.reason}`);
  if (verdict.is === 'kept') throw new LeftoverRefused(`${id} is kept on purpose: ${verdict.reason}`);
  try {
    await remove(places, thing, fence, claims);
  } catch (error) {
    if (!(error instanceof CatalogueError) || !REFUSALS.includes(error.code)) throw error;
    throw new LeftoverRefused(`${id}: ${error.message}`, { cause: error });
  }
  return sortHeld([thing], new Map([[vm, claims]])).leftovers[0]!;
}

/** A job has taken over meanwhile, or the hypervisor knows better. */
const REFUSALS: readonly string[] = ['StaleEpoch', 'ReplicaMissing', 'InvalidVmState', 'InvalidReplicaState'];

async function claimsOn({ store, siteVms }: Places, itemOf: ItemOf, vm: string): Promise<VmClaims> {
  try {
    // The item is read last, because it is what changes first when a job begins.
    const vault = await vaultClaims(store, vm);
    return { ...vault, isNamed: siteVms.includes(vm), item: await itemOf(vm) };
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return { isStoreKnown: false };
    throw error;
  }
}

async function remove(
  { store, compute, hosts }: Places,
  thing: Held,
  fence: WriteFence,
  { item }: VmClaims,
): Promise<void> {
  const { kind, vm, host, name } = thing;
  if (heldKinds[kind].where === 'store') return await removeFromStore(store, thing, fence);
  if (kind === 'testVm') {
    await compute.deleteTestVm(name!);
    return await removeHoldOf(store, vm, name!);
  }
  if (kind === 'replicaVm') {
    // The next failover gets a higher epoch. Of a VM that is not protected, none can be under way in this one.
    await compute.deleteVm(vm, { madeBefore: item ? fence.epoch : fence.epoch + 1 });
    if (!(await compute.listVms()).some((one) => one.name === vm)) return;
    throw new LeftoverRefused(`the replica VM ${vm} was made for epoch ${fence.epoch} or a later one, so it is kept`);
  }
  if (kind === 'unfinished') return await compute.removeFiles(kind, vm);
  const hypervisor = hosts.get(host!)!;
  if (kind === 'oldChangeLogs' || kind === 'vmState') return await hypervisor.removeFiles(kind, vm);
  if (kind === 'failbackLayers' && !thing.isCommitted) return await hypervisor.discardFailback(vm, thing.epoch!);
  if (kind === 'changeLogs') return await hypervisor.endReplication(vm, thing.epoch);
  while ((await hypervisor.mergeSnapshot(vm)) > 0);
}

/** The recovery point that the test VM ran from is no longer needed. */
async function removeHoldOf(store: ReplicaStore, vm: string, testVm: string): Promise<void> {
  const hold = await readTestHold(store, vm);
  if (hold?.testVm === testVm) await releaseTestPoint(store, vm);
}

/** Everything that may be left over, and the places that do not answer. */
async function look({ store, compute, hosts }: Places): Promise<{ held: Held[]; unknown: string[] }> {
  const unknown: string[] = [];
  const held: Held[] = [];
  const at = async <T>(place: string, asked: Promise<T>): Promise<T | undefined> => {
    try {
      return await soon(asked);
    } catch (error) {
      if (!(error instanceof CatalogueError) || !AWAY.includes(error.code)) throw error;
      if (!unknown.includes(place)) unknown.push(place);
      return undefined;
    }
  };
  const replicaVms = await at('recovery', compute.listVms());
  const testVms = replicaVms && (await at('recovery', compute.listTestVms()));
  const files = (testVms && (await at('recovery', compute.listFiles()))) ?? [];
  held.push(
    ...(replicaVms ?? []).map(
      ({ name }) => ({ kind: 'replicaVm', vm: name, ...sizeIn(files, 'vmFolder', name) }) as const,
    ),
  );
  held.push(...(testVms ?? []).map((vm) => ({ ...heldTestVm(vm), ...sizeIn(files, 'testVmFolder', vm.name) })));
  for (const { kind, vm } of files) if (kind === 'unfinished') held.push({ kind, vm, ...sizeIn(files, kind, vm) });
  const vms = new Set([...(await vaultVms(store)), ...held.map(({ vm }) => vm)]);
  const hasTestVm = (vm: string) => testVms?.some(({ testOf }) => testOf === vm);
  held.push(...(await heldInStore(store, [...vms], hasTestVm)));
  for (const [host, hypervisor] of hosts) {
    const found = await at(host, hypervisor.listVms());
    const ofHost = (found && (await at(host, hypervisor.listFiles()))) ?? [];
    held.push(...(found ?? []).flatMap((vm) => heldAtPrimary(host, vm, ofHost)));
    for (const { kind, vm } of ofHost)
      if (kind === 'oldChangeLogs' || kind === 'vmState') held.push({ kind, vm, host, ...sizeIn(ofHost, kind, vm) });
  }
  return { held, unknown };
}

const AWAY: readonly string[] = ['HypervisorUnreachable', 'RecoverySideNotAnswering'];

const heldTestVm = ({ name, testOf }: TestVm): Held => ({ kind: 'testVm', vm: testOf, name });

/** Size and age of the files of one kind. */
function sizeIn(files: readonly VmFiles[], kind: VmFiles['kind'], vm: string): Pick<Held, 'bytes' | 'since'> {
  const found = files.find((one) => one.kind === kind && one.vm === vm);
  return found ? { bytes: found.bytes, since: found.changedAt } : {};
}

function heldAtPrimary(
  host: string,
  { name: vm, state, tracking, snapshot, failback, failure }: HypervisorVm,
  files: readonly VmFiles[],
): Held[] {
  const common = { vm, host, isRunning: state === 'Running' };
  const overlays = sizeIn(files, 'overlays', vm);
  const held: Held[] = [];
  if (tracking) held.push({ ...common, kind: 'changeLogs', epoch: tracking.epoch, ...sizeIn(files, 'changeLogs', vm) });
  if (failback) {
    const isCommitted = failback.isCommitted ?? false;
    held.push({ ...common, kind: 'failbackLayers', epoch: failback.epoch, isCommitted, ...overlays });
  } else if (snapshot !== undefined) held.push({ ...common, kind: 'vmSnapshot', name: snapshot, ...overlays });
  // Of an attempt that died. What they are is unknown while the VM's state can't be read.
  else if (overlays.bytes !== undefined && !failure) held.push({ ...common, kind: 'vmSnapshot', ...overlays });
  return held;
}
