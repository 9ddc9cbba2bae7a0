/** A real store with something happening around one of its operations, or all of them. */
import type { ReplicaStore } from '../../ports/replica-store.js';
import { watchedStore, type StoreOperation } from '../support/watched-store.js';

export interface Interception {
  /** Called with the operation's first argument, or the address of the disk that was opened, before it is done. */
  readonly before?: (name: unknown) => Promise<unknown>;
  readonly after?: (name: unknown) => Promise<unknown>;
}

export function intercept(
  store: ReplicaStore,
  operation: StoreOperation | 'every',
  happen: Interception,
): ReplicaStore {
  return watchedStore(store, async (called, args, call, disk) => {
    const meant = operation === 'every' || called === operation;
    if (meant) await happen.before?.(disk ?? args[0]);
    const answer = await call();
    if (meant) await happen.after?.(disk ?? args[0]);
    return answer;
  });
}
