/** A real store with something around each of its operations: it is called, answers, or fails, as a test wants. */
import type { Objects } from '../../ports/objects.js';
import type { PageBlobs } from '../../ports/page-blobs.js';
import type { ReplicaStore } from '../../ports/replica-store.js';

export type StoreOperation = `objects.${keyof Objects}` | `pageBlobs.${keyof PageBlobs}` | 'close';

/** @param call does what was asked for. @returns what the caller gets. */
export type Around = (
  operation: StoreOperation,
  args: readonly unknown[],
  call: () => Promise<unknown>,
) => Promise<unknown>;

export function watchedStore(store: ReplicaStore, around: Around): ReplicaStore {
  const watched = <T extends object>(part: T, prefix: string): T =>
    new Proxy(part, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        const operation = `${prefix}${String(property)}` as StoreOperation;
        const call = value as (...args: unknown[]) => Promise<unknown>;
        return (...args: unknown[]) => around(operation, args, () => call.apply(target, args));
      },
    });
  return {
    objects: watched(store.objects, 'objects.'),
    pageBlobs: watched(store.pageBlobs, 'pageBlobs.'),
    close: async () => void (await around('close', [], () => store.close())),
  };
}
