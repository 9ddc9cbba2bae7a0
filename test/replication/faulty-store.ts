/** A real store that stops answering when told to, as for a process that dies. */
import { CatalogueError } from '../../domain/errors.js';
import type { ReplicaStore } from '../../sites/ports.js';

export class FaultyStore {
  /** Calls made so far. */
  calls = 0;
  readonly store: ReplicaStore;

  /** @param failAt number of the first call that fails, from 1; none after it is made either. */
  constructor(inner: ReplicaStore, failAt: number) {
    this.store = new Proxy(inner, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]): Promise<unknown> => {
          this.calls += 1;
          if (this.calls >= failAt)
            throw new CatalogueError('StoreUnreachable', `call ${this.calls}: ${String(property)}`);
          return await (value as (...rest: unknown[]) => Promise<unknown>).apply(target, args);
        };
      },
    });
  }
}

export interface Scenario {
  readonly store: ReplicaStore;
  readonly work: (store: ReplicaStore) => Promise<unknown>;
  /** Throws when what `work` left is not what it should be. */
  readonly check: () => Promise<void>;
}

/**
 * Lets `work` die at its first call to the store, its second, and so on, each time in a scenario of its own, runs it
 * again to its end, and checks.
 * @returns how many calls `work` makes.
 */
export async function dieAtEveryCall(begin: () => Promise<Scenario>): Promise<number> {
  for (let failAt = 1; ; failAt += 1) {
    const scenario = await begin();
    const faulty = new FaultyStore(scenario.store, failAt);
    try {
      await scenario.work(faulty.store);
      if (faulty.calls < failAt) {
        await scenario.check();
        return faulty.calls;
      }
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'StoreUnreachable') throw error;
    }
    await scenario.work(scenario.store);
    await scenario.check();
  }
}
