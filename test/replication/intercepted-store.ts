/** A real store with something happening around one of its operations, or all of them. */
import type { ReplicaStore } from '../../ports/replica-store.js';

export interface Interception {
  /** Called with the operation's first argument, before it is done. */
  readonly before?: (name: unknown) => Promise<unknown>;
  readonly after?: (name: unknown) => Promise<unknown>;
}

export function intercept(
  store: ReplicaStore,
  operation: keyof ReplicaStore | 'every',
  happen: Interception,
): ReplicaStore {
  return new Proxy(store, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      const meant = operation === 'every' || property === operation;
      return async (...args: unknown[]): Promise<unknown> => {
        if (meant) await happen.before?.(args[0]);
        const answer: unknown = await (value as (...rest: unknown[]) => Promise<unknown>).apply(target, args);
        if (meant) await happen.after?.(args[0]);
        return answer;
      };
    },
  });
}
