/** Undoes what a job has done, for the job that is given up and for the entity that has a leftover of one. */
import type { PrimaryActivities } from '../activities/primary.js';
import type { ProviderActivities } from '../activities/provider.js';
import type { Undoing } from '../domain/undoing.js';

export interface UndoingSides {
  readonly agent: Pick<PrimaryActivities, 'mergeSnapshot' | 'endReplication'>;
  readonly provider: Pick<ProviderActivities, 'startVm'>;
}

/**
 * One attempt; it can be repeated.
 * @param of.epoch in which the VM may run at the primary site: once a failover has fenced it, starting it is refused.
 */
export async function undo(
  what: Undoing,
  { agent, provider }: UndoingSides,
  { vm, epoch }: { readonly vm: string; readonly epoch: number },
): Promise<void> {
  switch (what) {
    case 'startSource':
      return provider.startVm({ vm, epoch });
    case 'mergeSnapshot':
      while ((await agent.mergeSnapshot({ vm })).bytesLeft > 0);
      return;
    case 'stopTracking':
      return agent.endReplication({ vm });
  }
}
