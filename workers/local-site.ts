/**
 * What can be learned on this machine without Temporal: of the hypervisors and the recovery compute by their control
 * sockets, and of the replica store, which describes itself.
 */
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import type { RecoveryState } from '../domain/recovery-point.js';
import type { Site, SiteVm } from '../domain/site.js';
import { readRecoveryState } from '../replication/recovery-target.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/embedded/control-client.js';
import { EmbeddedReplicaStore } from '../sites/embedded/replica-store.js';
import type { HypervisorVm } from '../sites/ports.js';
import type { DataFolder } from './data-folder.js';

export type { HypervisorVm } from '../sites/ports.js';

/** A hypervisor's answer about a VM; without `vm` it knows none, or did not answer. */
export interface HypervisorAnswer {
  readonly vm?: HypervisorVm;
  /** Why the VM can't be protected as it is. */
  readonly problem?: string;
  readonly answered: boolean;
}

export class LocalSite {
  constructor(
    private readonly site: Site,
    private readonly data: DataFolder,
  ) {}

  /** @throws CatalogueError that says neither that the VM is unknown nor that the hypervisor is away. */
  async askHypervisor({ name, host }: SiteVm): Promise<HypervisorAnswer> {
    try {
      const vm = await new HypervisorClient(this.data.hypervisorControl(host)).describeVm(name);
      if (!vm.failure) return { vm, answered: true };
      const { code, detail } = vm.failure;
      return { vm, answered: true, problem: `${failureCatalogue[code].message}: ${detail}` };
    } catch (error) {
      if (!(error instanceof CatalogueError)) throw error;
      if (error.code === 'HypervisorUnreachable') return { answered: false };
      if (error.code === 'VmNotFound') return { answered: true, problem: NOT_KNOWN };
      throw error;
    }
  }

  /** The VMs a host's hypervisor runs; undefined when it does not answer here. */
  async hypervisorVms(host: string): Promise<HypervisorVm[] | undefined> {
    try {
      return await new HypervisorClient(this.data.hypervisorControl(host)).listVms();
    } catch (error) {
      if (error instanceof CatalogueError && error.code === 'HypervisorUnreachable') return undefined;
      throw error;
    }
  }

  /** The replica VMs. @throws CatalogueError RecoverySideNotAnswering */
  async replicaVms(): Promise<HypervisorVm[]> {
    return await new RecoveryComputeClient(this.data.recoveryControl()).listVms();
  }

  /** What there is to recover to, as the store says; undefined while it knows no such VM. @throws CatalogueError StoreUnreachable */
  async recoveryState(vm: string): Promise<RecoveryState | undefined> {
    const store = await EmbeddedReplicaStore.open(this.site.vault.store.path);
    try {
      return await readRecoveryState(store, vm);
    } finally {
      await store.close();
    }
  }
}

const NOT_KNOWN =
  'The hypervisor does not know the VM. If it is new in the site file: `farshore down`, then `farshore up`';
