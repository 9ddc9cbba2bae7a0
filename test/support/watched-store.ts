/** A real store with something around each of its operations: it is called, answers, or fails, as a test wants. */
import type { Objects } from '../../ports/objects.js';
import type { DiskAddress, ReadableReplicaDisk, ReplicaDisk, ReplicaDisks } from '../../ports/replica-disks.js';
import type { ReplicaStore } from '../../ports/replica-store.js';

export type StoreOperation =
  | `objects.${keyof Objects}`
  | `disks.${keyof ReplicaDisks}`
  /** Of a disk that was opened. */
  | `disk.${Exclude<keyof ReplicaDisk, 'size'>}`
  | 'close';

/** @param call does what was asked for. @param disk of which an opened disk is. @returns what the caller gets. */
export type Around = (
  operation: StoreOperation,
  args: readonly unknown[],
  call: () => Promise<unknown>,
  disk?: DiskAddress,
) => Promise<unknown>;

export function watchedStore(store: ReplicaStore, around: Around): ReplicaStore {
  const watched = <T extends object>(part: T, prefix: string, disk?: DiskAddress): T =>
    new Proxy(part, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        const operation = `${prefix}.${String(property)}` as StoreOperation;
        const call = value as (...args: unknown[]) => Promise<unknown>;
        return async (...args: unknown[]) => {
          const answer = await around(operation, args, () => call.apply(target, args), disk);
          const isOpening = operation === 'disks.open' || operation === 'disks.openReadOnly';
          return isOpening ? watched(answer as ReadableReplicaDisk, 'disk', args[0] as DiskAddress) : answer;
        };
      },
    });
  return {
    objects: watched(store.objects, 'objects'),
    disks: watched(store.disks, 'disks'),
    close: async () => void (await around('close', [], () => store.close())),
  };
}
