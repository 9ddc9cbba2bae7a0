/** A real store that stops answering when told to, as for a process that dies. */
import { CatalogueError } from '../../domain/errors.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { watchedStore } from '../support/watched-store.js';

export class FaultyStore {
  /** Called so far, in their order. */
  readonly operations: string[] = [];
  readonly store: ReplicaStore;

  /** @param failAt number of the first call that fails, from 1; none after it is made either. */
  constructor(inner: ReplicaStore, failAt: number) {
    this.store = watchedStore(inner, async (operation, _, call) => {
      const calls = this.operations.push(operation);
      if (calls >= failAt) throw new CatalogueError('StoreUnreachable', `call ${calls}: ${operation}`);
      return await call();
    });
  }
}

export interface Scenario {
  readonly store: ReplicaStore;
  readonly work: (store: ReplicaStore) => Promise<unknown>;
  /** Throws when what `work` left is not what it should be. */
  readonly check: () => Promise<void>;
}

/** Calls of one kind that follow each other, more than these: dying at the first, in their midst or at the last is all there is. */
const MANY = 8;

/**
 * Lets `work` die at its first call to the store, its second, and so on, each time in a scenario of its own, runs it
 * again to its end, and checks.
 * @returns how many calls `work` makes.
 */
export async function dieAtEveryCall(begin: () => Promise<Scenario>): Promise<number> {
  const whole = await begin();
  const counting = new FaultyStore(whole.store, Infinity);
  await whole.work(counting.store);
  await whole.check();
  for (const failAt of worthDyingAt(counting.operations)) {
    const scenario = await begin();
    try {
      await scenario.work(new FaultyStore(scenario.store, failAt).store);
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'StoreUnreachable') throw error;
    }
    await scenario.work(scenario.store);
    await scenario.check();
  }
  return counting.operations.length;
}

/** Numbers of the calls, from 1. */
function* worthDyingAt(operations: readonly string[]): Generator<number> {
  for (let from = 0; from < operations.length;) {
    const other = operations.findIndex((operation, index) => index > from && operation !== operations[from]);
    const to = other === -1 ? operations.length : other;
    if (to - from > MANY) yield* [from + 1, Math.ceil((from + 1 + to) / 2), to];
    else for (let call = from + 1; call <= to; call += 1) yield call;
    from = to;
  }
}
