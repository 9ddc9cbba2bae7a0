/** Checks of a write's fence that all replica stores share. */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, fenceSchema, formatFence, type Fence } from '../domain/fence.js';
import { checkName, checkScope } from './blob-names.js';
import type { WriteFence } from '../ports/objects.js';

/** The fence of a scope that has never been fenced. */
export const NO_FENCE: Fence = { epoch: 0, sequence: 0 };

/** @returns the scope. @throws CatalogueError InvalidReplicaState; Error if the fence does not protect this name. */
export function scopeOf(name: string, fence: WriteFence): string {
  const scope = checkScope(fence.scope);
  if (!checkName(name).startsWith(`${scope}/`)) {
    throw new Error(`${name} is not below ${scope}, whose fence was to protect it`);
  }
  fenceSchema.parse(fence);
  return scope;
}

/** @throws CatalogueError StaleEpoch if a newer fence is recorded. */
export function refuseOlder(name: string, fence: WriteFence, recorded: Fence): void {
  if (compareFences(fence, recorded) >= 0) return;
  const detail = `${checkScope(fence.scope)} is fenced at ${formatFence(recorded)}; ${name} was to be written at ${formatFence(fence)}`;
  throw new CatalogueError('StaleEpoch', detail);
}
