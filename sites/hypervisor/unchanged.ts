/** The proof that the disks of a VM still hold the state of its last write. */
import { CatalogueError } from '../../domain/errors.js';
import type { Tracker } from '../../tracking/tracker.js';
import type { WrittenState } from '../../ports/change-source.js';
import type { VmState } from './vm-state-file.js';

/**
 * For open disks of a VM that is off: opening them has marked the VM if another program has changed one since it was
 * closed. While the VM runs, the next write may follow at once.
 * @throws CatalogueError ResyncRequired
 */
export function requireUnchanged(
  vm: string,
  { power }: Pick<VmState, 'power'>,
  { state }: Pick<Tracker, 'state'>,
  { epoch, lastWrites }: WrittenState,
): void {
  const changed = (detail: string) => new CatalogueError('ResyncRequired', `${vm}: ${detail}`);
  if (power !== 'Off') throw changed('it is running');
  if (!state) throw changed('its changes are not tracked');
  if (state.resyncCause !== undefined) throw changed(state.resyncCause);
  if (state.epoch !== epoch) throw changed(`it is tracked in epoch ${state.epoch}, not ${epoch}`);
  for (const disk of new Set([...Object.keys(state.lastWrites), ...Object.keys(lastWrites)])) {
    const [found, wanted] = [state.lastWrites[disk], lastWrites[disk]];
    if (found !== wanted) throw changed(`disk ${disk} is at write ${found ?? 'none'}, not ${wanted ?? 'none'}`);
  }
}
