/** Starts replica VMs at the recovery site of this machine again, and deletes those that are no longer needed. */
import { CatalogueError } from '../domain/errors.js';
import type { Site, SiteVm } from '../domain/site.js';
import type { VaultState } from '../domain/vault.js';
import { replicaVmAt } from '../replication/described-point.js';
import { listRecoveryPoints } from '../replication/recovery-points.js';
import { readDescription, readVaultState, vmFence } from '../replication/replica-state.js';
import { vaultPaths } from '../domain/vault.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/hypervisor/control-client.js';
import type { HypervisorVm } from '../ports/hypervisor-vm.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import type { DataFolder } from '../config/data-folder.js';
import { withReplicaStore } from './open-replica-store.js';

/** Where and how a VM can be started. */
export interface StartingPoint {
  /** The site where the VM runs according to the vault. */
  readonly side: 'primary' | 'recovery';
  /** The epoch under which the VM may be started there. */
  readonly epoch: number;
  /** Only for a VM that runs at the recovery site. */
  readonly state?: VaultState;
  /** Undefined if there is no replica VM; it is then created again from its recovery point. */
  readonly replica?: HypervisorVm;
}

export class ReplicaVms {
  readonly #compute: RecoveryComputeClient;

  constructor(
    private readonly site: Site,
    private readonly data: DataFolder,
  ) {
    this.#compute = new RecoveryComputeClient(data.recoveryControl());
  }

  /** @throws CatalogueError StoreUnreachable, RecoverySideNotAnswering */
  async startingPoint(vm: string): Promise<StartingPoint> {
    return await this.#withStore(async (store) => {
      const state = await readVaultState(store, vm);
      const { epoch } = await store.objects.readFence(vaultPaths.vm(vm));
      if (!state) return { side: 'primary', epoch };
      const replica = (await this.#compute.listVms()).find(({ name }) => name === vm);
      return { side: 'recovery', epoch, state, ...(replica && { replica }) };
    });
  }

  /** If the replica VM is gone, creates it again from the point that it ran from. @throws CatalogueError */
  async startReplica(vm: string, { state, replica }: StartingPoint): Promise<HypervisorVm> {
    if (!state) throw new CatalogueError('InvalidVmState', `${vm} runs at the primary site`);
    if (!replica) await this.#withStore((store) => this.#create(store, vm, state));
    return await this.#compute.startVm(vm, state.epoch);
  }

  /** @throws CatalogueError HypervisorUnreachable, StaleEpoch */
  async startSource({ name, host }: SiteVm, { epoch }: StartingPoint): Promise<void> {
    await new HypervisorClient(this.data.hypervisorControl(host)).startVm(name, epoch);
  }

  /**
   * Turns the replica VM off and deletes it, with everything written at the recovery site. After that, the vault says
   * that the VM runs at the primary site; recovery points are kept. Repeatable.
   * @throws CatalogueError RecoverySideNotAnswering, StoreUnreachable
   */
  async deleteReplica(vm: string): Promise<void> {
    await this.#compute.deleteVm(vm);
    await this.#withStore(async (store) => {
      const state = await readVaultState(store, vm);
      if (state) await store.objects.raiseFence(vmFence(vm, { epoch: state.epoch + 1, sequence: 0 }));
    });
  }

  async #create(store: ReplicaStore, vm: string, { epoch, recoveryPoint }: VaultState): Promise<void> {
    const description = await readDescription(store, vm);
    const point = (await listRecoveryPoints(store, vm)).find(({ id }) => id === recoveryPoint);
    if (!description || !point)
      throw new CatalogueError(
        'InvalidReplicaState',
        `${vm}: the recovery point ${recoveryPoint} that it ran from no longer exists`,
      );
    await this.#compute.createVm(await replicaVmAt(store, description, point, epoch));
  }

  #withStore<T>(work: (store: ReplicaStore) => Promise<T>): Promise<T> {
    const { store, name } = this.site.vault;
    return withReplicaStore(store, work, { vault: name });
  }
}
