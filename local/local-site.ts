/**
 * The state that this machine can find out without Temporal: from the hypervisors and the recovery compute through
 * their control sockets, and from the replica store, which describes itself.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import type { Site, SiteVm } from '../domain/site.js';
import { readRecoveryState, type KnownRecoveryState } from '../replication/recovery-target.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/hypervisor/control-client.js';
import type { HypervisorVm } from '../ports/hypervisor-vm.js';
import type { TestVm } from '../ports/test-vms.js';
import type { DataFolder } from '../config/data-folder.js';
import { withReplicaStore } from './open-replica-store.js';

export type { HypervisorVm } from '../ports/hypervisor-vm.js';
export type { TestVm } from '../ports/test-vms.js';

/** A hypervisor's answer about a VM. Without `vm`, the hypervisor does not know the VM or did not answer. */
export interface HypervisorAnswer {
  readonly vm?: HypervisorVm;
  /** Why the VM cannot be protected in its current state. */
  readonly problem?: string;
  /** A change in the site file that the hypervisor has not been told. */
  readonly untold?: string;
  readonly answered: boolean;
}

export class LocalSite {
  constructor(
    private readonly site: Site,
    private readonly data: DataFolder,
  ) {}

  /** @throws CatalogueError for failures other than an unknown VM or a hypervisor that does not answer. */
  async askHypervisor({ name, host, disks }: SiteVm): Promise<HypervisorAnswer> {
    try {
      const vm = await soon(new HypervisorClient(this.data.hypervisorControl(host)).describeVm(name));
      const untold = untoldDisks(disks, vm);
      if (!vm.failure) return { vm, answered: true, ...(untold !== undefined && { untold }) };
      const { code, detail } = vm.failure;
      return { vm, answered: true, problem: `${failureCatalogue[code].message}: ${detail}` };
    } catch (error) {
      if (!(error instanceof CatalogueError)) throw error;
      if (error.code === 'HypervisorUnreachable') return { answered: false };
      if (error.code === 'VmNotFound') return { answered: true, problem: NOT_KNOWN };
      throw error;
    }
  }

  /** The VMs of a host's hypervisor; undefined if it does not answer here. */
  async hypervisorVms(host: string): Promise<HypervisorVm[] | undefined> {
    try {
      return await soon(new HypervisorClient(this.data.hypervisorControl(host)).listVms());
    } catch (error) {
      if (error instanceof CatalogueError && error.code === 'HypervisorUnreachable') return undefined;
      throw error;
    }
  }

  /**
   * Whether a host's hypervisor answers; undefined if it does not answer here but may run elsewhere.
   * @param isWhole the whole site runs on this machine.
   */
  async hypervisorAnswers(host: string, isWhole: boolean): Promise<boolean | undefined> {
    if (await this.hypervisorVms(host)) return true;
    return isWhole ? false : undefined;
  }

  /** States by VM, from the hypervisors that answer here. @param wanted the host of each VM. */
  async sourceStates(wanted: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, HypervisorVm['state']>> {
    const hosts = [...new Set(wanted.values())];
    const answers = await Promise.all(
      hosts.map(async (host) => ((await this.hypervisorVms(host)) ?? []).map((vm) => ({ host, ...vm }))),
    );
    const found = answers.flat().filter(({ host, name }) => wanted.get(name) === host);
    return new Map(found.map(({ name, state }) => [name, state]));
  }

  /**
   * The replica VMs, sorted by name: recovery compute lists them in the order of their boots. @throws CatalogueError
   * RecoverySideNotAnswering
   */
  async replicaVms(): Promise<HypervisorVm[]> {
    const vms = await new RecoveryComputeClient(this.data.recoveryControl()).listVms();
    return vms.toSorted((a, b) => a.name.localeCompare(b.name));
  }

  /** As `replicaVms`, the test VMs. @throws CatalogueError RecoverySideNotAnswering */
  async testVms(): Promise<TestVm[]> {
    const vms = await new RecoveryComputeClient(this.data.recoveryControl()).listTestVms();
    return vms.toSorted((a, b) => a.name.localeCompare(b.name));
  }

  /** States by VM; undefined if the recovery compute does not answer here. */
  async replicaStates(): Promise<ReadonlyMap<string, HypervisorVm['state']> | undefined> {
    try {
      const vms = await soon(this.replicaVms());
      return new Map(vms.map(({ name, state }) => [name, state]));
    } catch (error) {
      if (error instanceof CatalogueError) return undefined;
      throw error;
    }
  }

  /**
   * The recovery state of a VM according to the store; undefined if the store does not know the VM. @throws
   * CatalogueError StoreUnreachable
   */
  async recoveryState(vm: string): Promise<KnownRecoveryState | undefined> {
    return await withReplicaStore(this.site.vault.store, (store) => readRecoveryState(store, vm));
  }
}

function untoldDisks(disks: SiteVm['disks'], vm: HypervisorVm): string | undefined {
  const told = new Map(vm.disks.map((disk) => [disk.name, disk]));
  const added = disks.filter(({ name }) => !told.has(name)).map(({ name }) => `${name} added`);
  const removed = vm.disks
    .filter(({ name }) => !disks.some((disk) => disk.name === name))
    .map(({ name }) => `${name} removed`);
  const excluded = disks
    .filter(({ name, excluded: now }) => told.has(name) && (told.get(name)!.excluded ?? false) !== now)
    .map(({ name, excluded: now }) => `${name} ${now ? 'excluded' : 'no longer excluded'}`);
  const changes = [...added, ...removed, ...excluded];
  if (changes.length === 0) return undefined;
  return `The disks in the site file have changed (${changes.join(', ')}); its host uses the new ones after the next \`farshore up\``;
}

/** How long to wait for a hypervisor that may hang, ms: the caller has other things to report. */
const PATIENCE_MS = 3_000;

/** @throws CatalogueError HypervisorUnreachable */
export async function soon<T>(work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  const late = async () => {
    await sleep(PATIENCE_MS, undefined, { ref: false });
    throw new CatalogueError('HypervisorUnreachable', `no answer within ${PATIENCE_MS / 1000} s`);
  };
  return await Promise.race([work, late()]);
}

const NOT_KNOWN =
  'The hypervisor does not know the VM. If it is new in the site file: `farshore down`, then `farshore up`';
