/** What to type next for a VM: the one command that brings it on. */
import { jobTitles, waitsForPerson } from '../../domain/job.js';
import { seedingStopped } from '../../domain/protected-item.js';
import type { ProtectedItemView } from '../../domain/item-view.js';

/** @returns a command, and what it is for. */
export function nextCommand(vm: string, view: ProtectedItemView | undefined): string {
  if (!view || view.item.phase === 'Unprotected') {
    if (view?.item.job) return `farshore job show ${view.item.job.jobId}  (it is being protected)`;
    return `farshore protect ${vm} --wait  (starts protecting it)`;
  }
  const { item } = view;
  if (waitsForPerson(item) || (item.job && waitsForPerson(item.job)) || seedingStopped(item)) {
    return `farshore retry ${vm}  (once the cause is gone)`;
  }
  if (item.job) return `farshore job show ${item.job.jobId}  (the job "${jobTitles[item.job.kind]}" is running)`;
  switch (item.phase) {
    case 'Protected':
      if (item.paused && !item.resync) return `farshore resume ${vm}  (replication is paused)`;
      if (item.resync) {
        const by = item.resync.dueAt === undefined ? '' : `; by itself at ${item.resync.dueAt}`;
        return `farshore resynchronize ${vm} --now --wait  (nothing is sent until both sides are equal again${by})`;
      }
      return `farshore failover ${vm} --type planned --wait  (only when it shall run at the recovery side; now there is nothing to do)`;
    case 'FailedOver':
      return `farshore commit ${vm} --wait  (once the replica VM has been found to work)`;
    default:
      return `farshore vm list --side recovery  (shows the replica VM; nothing else is to be done)`;
  }
}
