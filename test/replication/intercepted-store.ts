/** A real store with something happening around one of its operations. */
import type { ReplicaStore } from '../../sites/ports.js';

export interface Interception {
  /** Called with the operation's first argument, before it is done. */
  readonly before?: (name: unknown) => Promise<unknown>;
  readonly after?: (name: unknown) => Promise<unknown>;
}

export function intercept(store: ReplicaStore, operation: keyof ReplicaStore, happen: Interception): ReplicaStore {
  return new Proxy(store, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]): Promise<unknown> => {
        if (property === operation) await happen.before?.(args[0]);
        const answer: unknown = await (value as (...rest: unknown[]) => Promise<unknown>).apply(target, args);
        if (property === operation) await happen.after?.(args[0]);
        return answer;
      };
    },
  });
}
