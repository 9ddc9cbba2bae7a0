/**
 * Looks for a VM that is not where it was: the Provider asks its hosts which of them has it now, and the refused work
 * continues on that host. A move changes nothing else, because all hosts can reach the disks and change logs.
 */
import { isCancellation, log } from '@temporalio/workflow';
import { toFailure, type Failure } from '../domain/errors.js';
import type { LocatedVm } from '../domain/host.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { ItemEvent } from '../domain/transitions.js';
import { now } from './clock.js';
import { sourceIfThere } from './sides.js';
import { StepFailure } from './step-failure.js';

/** Failures of a host that has lost a VM, or that is lost itself. */
const MAY_HAVE_MOVED: readonly string[] = ['VmNotFound', 'AgentNotAnswering', 'HypervisorUnreachable'];

/** The part of an entity that is needed to follow a moved VM. */
export interface MovingEntity {
  item(): ProtectedItem;
  on(event: ItemEvent): void;
}

/** @returns where the VM is now; undefined if it has not moved, is nowhere, or cannot be located. */
export async function findMoved(
  { vault, vm, host, vmmServer }: Pick<ProtectedItem, 'vault' | 'vm' | 'host' | 'vmmServer'>,
  { code }: Failure,
): Promise<LocatedVm | undefined> {
  if (!MAY_HAVE_MOVED.includes(code)) return undefined;
  try {
    const found = await sourceIfThere(vault, host, vmmServer).sourceFabric.locateVm({ vm, host });
    if (!found || found.host === host) return undefined;
    log.info('The VM has moved', { vm, from: host, to: found.host });
    return found;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return undefined;
  }
}

/**
 * For the ladder of an entity: sets the new host in its item. @returns true if the step should be retried there
 * immediately. @throws StepFailure if the VM's changes are not tracked there.
 */
export async function followVm({ item, on }: MovingEntity, failure: Failure): Promise<boolean> {
  const found = await findMoved(item(), failure);
  if (!found) return false;
  on({ type: 'vmMoved', found, at: now() });
  const { resync } = item();
  if (resync) throw new StepFailure(toFailure('ResyncRequired', resync.cause));
  return true;
}
