/** Makes sure that a host is watched as long as a VM needs it. */
import { ParentClosePolicy, getExternalWorkflowHandle, isCancellation, startChild } from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { hostWatchId } from '../domain/ids.js';
import { needsHost, type ProtectedItem } from '../domain/protected-item.js';
import { hostWatch } from './host-watch.js';
import { tuningOfNextRun, watchVmSignal, type Tuning } from './messages.js';
import { until } from './wait.js';

export interface WatchedItem {
  item(): ProtectedItem;
  over(): boolean;
  readonly tuning: Tuning | undefined;
}

/** Resolves when the entity is over and, unless another run of it continues, has left the watch over its host. */
export async function keepHostWatched(watched: WatchedItem): Promise<void> {
  const wanted = () => needsHost(watched.item());
  while (!watched.over()) {
    await until(() => wanted() || watched.over());
    if (watched.over()) return;
    const joined = watched.item();
    await join(watched, joined);
    await until(() => !wanted() || watched.item().host !== joined.host || watched.over());
    if (!wanted() || watched.item().host !== joined.host) await tell(joined, false);
  }
}

/** The watch may begin or end between the signal and its start; if so, tries again. */
async function join({ tuning }: WatchedItem, item: ProtectedItem): Promise<void> {
  const { vault, host, vm } = item;
  while (!(await tell(item, true))) {
    try {
      await startChild(hostWatch, {
        workflowId: hostWatchId(vault, host),
        args: [{ vault, host, vms: [vm], tuning: tuningOfNextRun(tuning) }],
        parentClosePolicy: ParentClosePolicy.ABANDON,
        staticSummary: `Watch over host ${host}`,
      });
      return;
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }
}

/** @returns false if there is no watch. */
async function tell({ vault, host, vm }: ProtectedItem, isWatched: boolean): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(hostWatchId(vault, host)).signal(watchVmSignal, { vm, watched: isWatched });
    return true;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return false;
  }
}
