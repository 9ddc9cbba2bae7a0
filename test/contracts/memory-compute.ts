/** Compute at the recovery site in memory, for its contract. */
import { isDeepStrictEqual } from 'node:util';
import { CatalogueError } from '../../domain/errors.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { RecoveryCompute, ReplicaVmSpec } from '../../ports/recovery-compute.js';

interface ReplicaVm {
  readonly spec: ReplicaVmSpec;
  readonly disks: ReadonlyMap<string, Buffer>;
  state: HypervisorVm['state'];
}

export class MemoryCompute implements RecoveryCompute {
  readonly #vms = new Map<string, ReplicaVm>();
  /** Of the store. */
  fencedEpoch = 0;

  /** @param point what each disk of a recovery point holds. */
  constructor(private readonly point: ReadonlyMap<string, Buffer>) {}

  /** What a guest has while its VM runs. */
  disksOf(vm: string): ReadonlyMap<string, Buffer> {
    const { state, disks } = this.#find(vm);
    if (state === 'Off') throw new Error(`${vm} is off`);
    return disks;
  }

  async listVms(): Promise<HypervisorVm[]> {
    return [...this.#vms.keys()].map((vm) => this.#describe(vm));
  }

  async createVm(spec: ReplicaVmSpec): Promise<void> {
    const { vm } = spec.description;
    const found = this.#vms.get(vm);
    if (found && isDeepStrictEqual(found.spec, spec)) return;
    if (found) throw new CatalogueError('InvalidVmState', `${vm} is made from something else`);
    this.#checkFence(spec.epoch);
    const disks = spec.disks.map(({ name }) => [name, Buffer.from(this.point.get(name)!)] as const);
    this.#vms.set(vm, { spec, disks: new Map(disks), state: 'Off' });
  }

  async startVm(vm: string, epoch: number): Promise<HypervisorVm> {
    const found = this.#find(vm);
    if (epoch < found.spec.epoch) throw new CatalogueError('StaleEpoch', `${vm} is of epoch ${found.spec.epoch}`);
    this.#checkFence(epoch);
    found.state = 'Running';
    return this.#describe(vm);
  }

  async turnOffVm(vm: string): Promise<void> {
    this.#find(vm).state = 'Off';
  }

  async deleteVm(vm: string): Promise<void> {
    this.#vms.delete(vm);
  }

  #describe(vm: string): HypervisorVm {
    const { spec, state } = this.#find(vm);
    const { disks, hardware } = spec.description;
    return {
      ...{ name: vm, state, fencing: 'enforced' },
      ...(hardware && { hardware }),
      disks: disks.map(({ name, size }) => ({ name, path: `memory/${vm}/${name}`, format: 'raw', size })),
    };
  }

  #checkFence(epoch: number): void {
    if (epoch < this.fencedEpoch) throw new CatalogueError('StaleEpoch', `the store is at epoch ${this.fencedEpoch}`);
  }

  #find(vm: string): ReplicaVm {
    const found = this.#vms.get(vm);
    if (!found) throw new CatalogueError('VmNotFound', vm);
    return found;
  }
}
