/** Where a store is for processes that are killed while they use it. */
import path from 'node:path';
import type { StoreAddress } from '../../domain/store-address.js';
import { temporaryFolder } from './temporary-folder.js';
import { replicaBlobName } from '../../sites/vhd-disks.js';

export interface StorePlace {
  readonly address: StoreAddress;
  /** With which a process gets at it. */
  readonly environment: Readonly<Record<string, string>>;
  /** What a process that is dead now has asked of the store is done, or never will be. */
  settled(): Promise<void>;
  /** A file for programs of others that holds the live replica of a disk, a VHD. */
  replica(vm: string, disk: string): Promise<string>;
}

/** In a folder that is removed after the test. */
export async function embeddedPlace(): Promise<StorePlace> {
  const folder = path.join(await temporaryFolder(), 'store');
  return {
    address: { kind: 'embedded', path: folder },
    environment: {},
    settled: () => Promise.resolve(),
    replica: (vm, disk) => Promise.resolve(path.join(folder, replicaBlobName(vm, disk))),
  };
}
