/**
 * A VM that is not where it was is looked for: the Provider asks its hosts which of them has it now, and whoever was
 * refused goes on there. Nothing else changes by a move, as disks and change logs lie where all hosts reach them.
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

/** An entity, as far as it goes where its VM goes. */
export interface MovingEntity {
  item(): ProtectedItem;
  on(event: ItemEvent): void;
}

/** @returns where the VM is now; undefined when it is where it was, nowhere, or when nobody can tell. */
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
 * For the ladder of an entity: its item takes the new host.
 * @returns true when the step is to be tried there at once. @throws StepFailure when its changes are not tracked there.
 */
export async function followVm({ item, on }: MovingEntity, failure: Failure): Promise<boolean> {
  const found = await findMoved(item(), failure);
  if (!found) return false;
  on({ type: 'vmMoved', found, at: now() });
  const { resync } = item();
  if (resync) throw new StepFailure(toFailure('ResyncRequired', resync.cause));
  return true;
}
