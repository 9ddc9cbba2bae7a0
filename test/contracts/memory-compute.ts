/** Compute at the recovery site in memory, for its contract. */
import { isDeepStrictEqual } from 'node:util';
import { CatalogueError } from '../../domain/errors.js';
import type { Range } from '../../domain/ranges.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import { toIso } from '../../domain/time.js';
import type { ShutDownResult } from '../../ports/hypervisor.js';
import type { RecoveryCompute, ReplicaVmSpec, WhichVm, WrittenOptions } from '../../ports/recovery-compute.js';
import type { RunInGuest, TestVm, TestVmSpec } from '../../ports/test-vms.js';
import { changedBlocks, MemorySource, MemoryVm, type Frozen } from './memory-source.js';

export class MemoryCompute extends MemorySource implements RecoveryCompute {
  readonly #specs = new Map<string, ReplicaVmSpec>();
  readonly #tests = new Map<string, { spec: TestVmSpec; vm: MemoryVm }>();
  /** Of the store. */
  fencedEpoch = 0;

  /** @param point what each disk of a recovery point holds. */
  constructor(private readonly point: Frozen) {
    super();
  }

  async createVm(spec: ReplicaVmSpec): Promise<void> {
    const { vm, hardware } = spec.description;
    const found = this.#specs.get(vm);
    if (found && isDeepStrictEqual(found, spec)) return;
    if (found) throw new CatalogueError('InvalidVmState', `${vm} is made from something else`);
    if (this.#tests.has(vm)) throw new CatalogueError('InvalidVmState', `${vm} is a test VM`);
    this.#checkFence(spec.epoch);
    const disks = spec.disks.map(({ name }) => [name, Buffer.from(this.point.get(name)!)] as const);
    const made = new MemoryVm(vm, new Map(disks), hardware, 'enforced');
    made.state = 'Off';
    this.vms.set(vm, made);
    this.#specs.set(vm, spec);
  }

  async startVm(vm: string, epoch: number): Promise<HypervisorVm> {
    const found = this.vm(vm);
    this.#checkEpoch(vm, epoch);
    if (found.tracking && found.tracking.epoch < epoch) this.stopTracking(found);
    found.state = 'Running';
    return this.describeVm(vm);
  }

  async shutDownVm(vm: string): Promise<ShutDownResult> {
    const found = this.vm(vm);
    if (found.state === 'Running') found.exportsClosedAt = toIso(Date.now());
    found.state = 'Off';
    return { exportsClosedAt: found.exportsClosedAt! };
  }

  async turnOffVm(vm: string, which: WhichVm = {}): Promise<void> {
    const found = this.vm(vm);
    if (this.#isMeant(vm, which)) found.state = 'Off';
  }

  async deleteVm(vm: string, which: WhichVm = {}): Promise<void> {
    if (!this.#isMeant(vm, which)) return;
    this.vms.delete(vm);
    this.#specs.delete(vm);
  }

  async listTestVms(): Promise<TestVm[]> {
    return [...this.#tests.keys()].map((name) => this.#describeTest(name));
  }

  async createTestVm(spec: TestVmSpec): Promise<void> {
    const { name, description } = spec;
    const found = this.#tests.get(name)?.spec;
    if (found && isDeepStrictEqual(found, spec)) return;
    if (found || this.vms.has(name)) throw new CatalogueError('InvalidVmState', `${name} is another VM`);
    const disks = spec.disks.map((disk) => [disk.name, Buffer.from(this.point.get(disk.name)!)] as const);
    const vm = new MemoryVm(name, new Map(disks), description.hardware, 'enforced');
    vm.state = 'Off';
    this.#tests.set(name, { spec, vm });
  }

  async startTestVm(name: string): Promise<TestVm> {
    this.testVm(name).state = 'Running';
    return this.#describeTest(name);
  }

  async turnOffTestVm(name: string): Promise<void> {
    this.testVm(name).state = 'Off';
  }

  async deleteTestVm(name: string): Promise<void> {
    this.#tests.delete(name);
  }

  /** No guest is booted here. */
  async readTestConsole(name: string): Promise<Buffer> {
    this.testVm(name);
    return Buffer.alloc(0);
  }

  async readTestScreen(name: string): Promise<undefined> {
    this.testVm(name);
  }

  async runInTestVm(name: string): Promise<RunInGuest> {
    this.testVm(name);
    return { problem: 'no guest is booted' };
  }

  testVm(name: string): MemoryVm {
    const found = this.#tests.get(name)?.vm;
    if (!found) throw new CatalogueError('VmNotFound', name);
    return found;
  }

  #describeTest(name: string): TestVm {
    const { state, disks, hardware, fencing } = this.testVm(name);
    return {
      ...{ name, state, fencing, testOf: this.#tests.get(name)!.spec.description.vm },
      ...(hardware && { hardware }),
      disks: [...disks].map(([disk, { content }]) => ({
        ...{ name: disk, path: disk, format: 'memory', size: content.length },
      })),
    };
  }

  override async beginReplication(vm: string, epoch: number): Promise<void> {
    this.vm(vm);
    this.#checkEpoch(vm, epoch);
    await super.beginReplication(vm, epoch);
  }

  async *listWritten(vm: string, disk: string, { ofSnapshot }: WrittenOptions = {}): AsyncGenerator<readonly Range[]> {
    const { snapshot, disks } = this.vm(vm);
    const content = ofSnapshot ? snapshot?.content.get(disk) : disks.get(disk)?.content;
    if (!content) throw new CatalogueError('DiskMissing', `${vm} has no disk ${disk}`);
    for (const { offset, length } of changedBlocks(this.point.get(disk)!, content)) yield [{ offset, length }];
  }

  #isMeant(vm: string, { madeBefore = Infinity }: WhichVm): boolean {
    return (this.#specs.get(vm)?.epoch ?? 0) < madeBefore;
  }

  #checkEpoch(vm: string, epoch: number): void {
    const made = this.#specs.get(vm)!.epoch;
    if (epoch < made) throw new CatalogueError('StaleEpoch', `${vm} is of epoch ${made}`);
    this.#checkFence(epoch);
  }

  #checkFence(epoch: number): void {
    if (epoch < this.fencedEpoch) throw new CatalogueError('StaleEpoch', `the store is at epoch ${this.fencedEpoch}`);
  }
}
