import { isInside } from '../disks/inside-folder.js';
import type { StoreAddress } from '../domain/store-address.js';

/** Whether a file or folder of this machine is inside the store. */
export const liesInStore = async (address: StoreAddress, file: string): Promise<boolean> =>
  address.kind === 'embedded' && (await isInside(address.path, file));
