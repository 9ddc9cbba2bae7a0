/** The vault that owns a store: two vaults in one store would take each other's replicas for their own. */
import { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import { nameSchema } from '../domain/ids.js';
import { vaultPaths } from '../domain/vault.js';
import type { RecordStore } from '../ports/replica-store.js';
import { mendKept, putKeptIfAbsent, readKept } from './kept-record.js';
import { encodeRecord } from './vault-record.js';

const ownerSchema = z.object({ vault: nameSchema });

/** Makes a vault the owner of the store if it has none. @throws CatalogueError ForeignVault */
export async function claimStore(store: RecordStore, vault: string): Promise<void> {
  const fence = { scope: vaultPaths.ownerScope, epoch: 0, sequence: 0 };
  const record = encodeRecord(ownerSchema, { vault });
  if ((await readKept(store.objects, vaultPaths.owner, ownerSchema)) === undefined) {
    await putKeptIfAbsent(store.objects, vaultPaths.owner, record, fence);
  }
  await requireOwner(store, vault);
  await mendKept(store.objects, vaultPaths.owner, ownerSchema, fence);
}

/** Accepts a store without an owner. @throws CatalogueError ForeignVault */
export async function requireOwner(store: RecordStore, vault: string): Promise<void> {
  const owner = await readKept(store.objects, vaultPaths.owner, ownerSchema);
  if (owner === undefined || owner.vault === vault) return;
  throw new CatalogueError(
    'ForeignVault',
    `it belongs to the vault ${owner.vault}, but the site file describes the vault ${vault}`,
  );
}
