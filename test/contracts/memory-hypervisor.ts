/** A hypervisor whose VMs are in memory: one that was failed over is kept off by a setting alone. */
import type { Hardware } from '../../domain/hardware.js';
import { toIso } from '../../domain/time.js';
import type { Hypervisor, ShutDownResult } from '../../ports/hypervisor.js';
import { MemorySource, MemoryVm } from './memory-source.js';

export class MemoryHypervisor extends MemorySource implements Hypervisor {
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

  async fenceVm(vm: string, epoch: number): Promise<void> {
    const found = this.vm(vm);
    found.fencedEpoch = Math.max(epoch, found.fencedEpoch);
  }
}
