/** Undoes a step of a job, for a job that is given up and for an entity that has a leftover. */
import type { SourceActivities } from '../activities/source.js';
import type { SourceFabricActivities } from '../activities/source-fabric.js';
import type { TargetActivities } from '../activities/target.js';
import type { Undoing } from '../domain/undoing.js';

export interface UndoingSides {
  readonly source: Pick<SourceActivities, 'mergeSnapshot' | 'endReplication' | 'discardFailback'>;
  readonly sourceFabric: Pick<SourceFabricActivities, 'startVm'>;
  readonly target: Pick<TargetActivities, 'restartReplicaVm' | 'endFailback'>;
}

/**
 * One attempt, repeatable. @param of.epoch the epoch in which the VM may run at the primary site: once a failover has
 * fenced it, starting it is refused.
 */
export async function undo(
  what: Undoing,
  { source, sourceFabric, target }: UndoingSides,
  { vm, epoch }: { readonly vm: string; readonly epoch: number },
): Promise<void> {
  switch (what) {
    case 'startSource':
      return sourceFabric.startVm({ vm, epoch });
    case 'mergeSnapshot':
      while ((await source.mergeSnapshot({ vm })).bytesLeft > 0);
      return;
    case 'stopTracking':
      return source.endReplication({ vm });
    case 'startReplica':
      await target.restartReplicaVm({ vm });
      return;
    case 'discardFailback':
      return source.discardFailback({ vm });
    case 'endFailback':
      return target.endFailback({ vm });
  }
}
