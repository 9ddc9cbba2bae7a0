/** A hypervisor whose VMs are in memory: one that was failed over is kept off by a setting alone. */
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Hardware } from '../../domain/hardware.js';
import { toIso } from '../../domain/time.js';
import type { Hypervisor, ShutDownResult } from '../../ports/hypervisor.js';
import type { FailbackDisk, FailbackLayers, FailbackState } from '../../ports/failback-target.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import { MemorySource, MemoryVm, type Frozen } from './memory-source.js';

interface Layers {
  readonly epoch: number;
  readonly originals: Frozen;
  readonly original?: NonNullable<FailbackState['original']>;
  received?: number;
  isCommitted?: boolean;
  /** How many times they were opened: only the last one to do it may write. */
  opened: number;
}

export class MemoryHypervisor extends MemorySource implements Hypervisor {
  readonly #layers = new Map<string, Layers>();

  add(vm: string, sizes: Readonly<Record<string, number>>, hardware?: Hardware): void {
    const contents = Object.entries(sizes).map(([disk, size]) => [disk, Buffer.alloc(size)] as const);
    this.vms.set(vm, new MemoryVm(vm, new Map(contents), hardware, 'advised'));
  }

  async startVm(vm: string, epoch: number): Promise<void> {
    const found = this.vm(vm);
    found.checkFence(epoch);
    if (found.tracking && found.tracking.epoch < epoch) this.stopTracking(found);
    found.startedEpoch = Math.max(epoch, found.startedEpoch);
    found.state = 'Running';
    found.exportsClosedAt = undefined;
  }

  async shutDownVm(vm: string): Promise<ShutDownResult> {
    const found = this.vm(vm);
    found.state = 'Off';
    found.exportsClosedAt ??= toIso(Date.now());
    return { exportsClosedAt: found.exportsClosedAt };
  }

  async turnOffVm(vm: string): Promise<void> {
    await this.shutDownVm(vm);
  }

  async beginFailback(vm: string, epoch: number): Promise<FailbackState> {
    const found = this.vm(vm);
    found.checkFence(epoch);
    if (found.state !== 'Off') throw new CatalogueError('InvalidVmState', `${vm} is running`);
    const layers = this.#layers.get(vm);
    if (layers && layers.epoch > epoch) throw new CatalogueError('StaleEpoch', `${vm}: ${layers.epoch}`);
    if (layers?.epoch !== epoch) {
      await this.discardFailback(vm, epoch);
      const { tracking, disks } = found;
      const lastWrites = [...disks].map(([name, { writes }]) => ({ name, lastWrite: writes }));
      this.stopTracking(found);
      this.#layers.set(vm, {
        ...{ epoch, originals: found.content, opened: 0 },
        ...(tracking && { original: { epoch: tracking.epoch, lastWrites } }),
      });
    }
    return (await this.describeVm(vm)).failback!;
  }

  async openFailback(vm: string, fence: Fence): Promise<FailbackLayers | undefined> {
    const layers = this.#layers.get(vm);
    if (layers?.epoch !== fence.epoch || layers.isCommitted) throw new CatalogueError('InvalidVmState', `${vm}: none`);
    if (layers.received !== undefined && fence.sequence <= layers.received) return undefined;
    if (fence.sequence !== (layers.received ?? -1) + 1) throw new CatalogueError('OutOfSequence', vm);
    const opened = (layers.opened += 1);
    const disk = (name: string): FailbackDisk => {
      const content = this.vm(vm).disks.get(name)?.content;
      if (!content) throw new CatalogueError('DiskMissing', `${vm} has no disk ${name}`);
      const current = () => {
        if (layers.opened !== opened) throw new CatalogueError('HypervisorUnreachable', `${vm} was opened again`);
      };
      return {
        size: content.length,
        read: async (target, offset) => {
          current();
          content.copy(target, 0, offset, offset + target.length);
        },
        write: async (data, offset) => {
          current();
          data.copy(content, offset);
        },
        writeZeroes: async ({ offset, length }) => {
          current();
          content.fill(0, offset, offset + length);
        },
      };
    };
    const complete = async () => {
      layers.opened += 1;
      layers.received = fence.sequence;
    };
    return { disk, complete, close: async () => undefined };
  }

  async commitFailback(vm: string, epoch: number): Promise<void> {
    const layers = this.#layers.get(vm);
    if (layers && layers.epoch > epoch) throw new CatalogueError('InvalidVmState', `${vm}: ${layers.epoch}`);
    if (layers) layers.isCommitted = true;
  }

  async discardFailback(vm: string, epoch: number): Promise<void> {
    const layers = this.#layers.get(vm);
    if (!layers || layers.epoch > epoch) return;
    const found = this.vm(vm);
    if (layers.isCommitted || found.state !== 'Off') throw new CatalogueError('InvalidVmState', `${vm}: not now`);
    for (const [name, original] of layers.originals) original.copy(found.disks.get(name)!.content);
    this.#layers.delete(vm);
  }

  override async describeVm(vm: string): Promise<HypervisorVm> {
    const found = await super.describeVm(vm);
    const { epoch, received, original, isCommitted } = this.#layers.get(vm) ?? {};
    if (epoch === undefined) return found;
    const state = { ...(received !== undefined && { received }), ...(original && { original }) };
    return { ...found, failback: { epoch, ...state, ...(isCommitted && { isCommitted }) } };
  }

  override async beginReplication(vm: string, epoch: number): Promise<void> {
    this.#requireNone(vm);
    this.#layers.delete(vm);
    await super.beginReplication(vm, epoch);
  }

  override async mergeSnapshot(vm: string): Promise<number> {
    this.#requireNone(vm);
    const left = await super.mergeSnapshot(vm);
    if (left === 0) this.#layers.delete(vm);
    return left;
  }

  #requireNone(vm: string): void {
    const layers = this.#layers.get(vm);
    if (layers && !layers.isCommitted) throw new CatalogueError('InvalidVmState', `${vm}: commit or cancel first`);
  }

  async fenceVm(vm: string, epoch: number): Promise<void> {
    const found = this.vm(vm);
    found.fencedEpoch = Math.max(epoch, found.fencedEpoch);
  }
}
