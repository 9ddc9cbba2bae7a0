/** Checks of a replica disk's address that all adapters share, and the fence of its VM. */
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import { nameSchema } from '../domain/ids.js';
import { vaultPaths } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { DiskAddress } from '../ports/replica-disks.js';

/** @throws CatalogueError InvalidReplicaState if it cannot be the name of a VM or disk. */
export function checkAddress({ vm, disk }: DiskAddress): void {
  for (const name of [vm, disk]) {
    if (nameSchema.safeParse(name).success) continue;
    throw new CatalogueError('InvalidReplicaState', `${JSON.stringify(name)} is not a valid name of a VM or disk`);
  }
}

export const fenceOfDisk = ({ vm }: DiskAddress, { epoch, sequence }: Fence): WriteFence => ({
  scope: vaultPaths.vm(vm),
  epoch,
  sequence,
});
