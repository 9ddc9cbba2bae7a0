/** What an embedded hypervisor of either side does as a source of changes: it asks the VM of that name. */
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Cut, CutIdentity, CutOptions } from '../../ports/change-source.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { EmbeddedVm } from './embedded-vm.js';
import type { PointDisk } from './replica-disk.js';

/** Where the base of a VM snapshot is to be read from. */
export interface SnapshotFile {
  readonly path: string;
  readonly format: string;
  readonly size: number;
  /** Which file it has to be, as `fileKey` tells. Left out while the VM is off. */
  readonly file?: string;
  /** Of a replica VM: what the file is an overlay above. */
  readonly point?: PointDisk;
}

export abstract class EmbeddedChanges {
  abstract listVms(): HypervisorVm[];

  /** @throws CatalogueError VmNotFound */
  protected abstract vm(name: string): EmbeddedVm;

  async describeVm(vm: string): Promise<HypervisorVm> {
    return this.vm(vm).describeNow();
  }

  async beginReplication(vm: string, epoch: number): Promise<void> {
    await this.vm(vm).beginReplication(epoch);
  }

  async endReplication(vm: string): Promise<void> {
    await this.vm(vm).endReplication();
  }

  async snapshotFile(vm: string, epoch: number, disk: string): Promise<SnapshotFile> {
    const file = await this.vm(vm).checkSnapshot(epoch, disk);
    const found = this.vm(vm)
      .describe()
      .disks.find(({ name, excluded }) => name === disk && !excluded);
    // It had when the snapshot was taken: what is copied from it is of another set of disks.
    if (!found) throw new CatalogueError('ResyncRequired', `${vm} has no disk ${disk} any more`);
    return { path: found.path, format: found.format, size: found.size, ...(file !== undefined && { file }) };
  }

  async mergeSnapshot(vm: string): Promise<number> {
    return this.vm(vm).mergeSnapshot();
  }

  async cut(vm: string, fence: Fence, options: CutOptions): Promise<Cut> {
    return this.vm(vm).cut(fence, options);
  }

  async snapshotAndCut(vm: string, fence: Fence): Promise<Cut> {
    return this.vm(vm).snapshotAndCut(fence);
  }

  async releaseCuts(upTo: CutIdentity): Promise<void> {
    await this.vm(upTo.vm).releaseCuts(upTo);
  }
}
