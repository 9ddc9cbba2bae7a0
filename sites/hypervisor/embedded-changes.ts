/** An embedded hypervisor of either site as a source of changes: passes each request to the VM that it names. */
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Cut, CutIdentity, CutOptions, WrittenState } from '../../ports/change-source.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { EmbeddedVm } from './embedded-vm.js';
import type { PointDisk } from './replica-disk.js';

/** The file from which to read the base of a VM snapshot. */
export interface SnapshotFile {
  readonly path: string;
  readonly format: string;
  readonly size: number;
  /** Key (see `fileKey`) that the opened file must have. Absent while the VM is off. */
  readonly file?: string;
  /** Only for a replica VM: the point that the file is an overlay of. */
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

  async continueReplication(vm: string, epoch: number, unchangedSince: WrittenState): Promise<void> {
    await this.vm(vm).beginReplication(epoch, unchangedSince);
  }

  async endReplication(vm: string, ofEpoch?: number): Promise<void> {
    await this.vm(vm).endReplication(ofEpoch);
  }

  async snapshotFile(vm: string, epoch: number, disk: string): Promise<SnapshotFile> {
    const file = await this.vm(vm).checkSnapshot(epoch, disk);
    const found = this.vm(vm)
      .describe()
      .disks.find(({ name, excluded }) => name === disk && !excluded);
    // The VM had the disk when the snapshot was taken, so the copy belongs to a different set of disks.
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
