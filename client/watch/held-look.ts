/** A watcher's knowledge of the replicas in the store, which it reads only from time to time. */
import { shouldRunAsReplica } from '../../domain/attention.js';
import type { HeldReplica } from '../../domain/held-replica.js';

/** The store is searched at most this often for replicas of VMs that Temporal does not know, ms. */
const STORE_EVERY_MS = 30_000;

type ReplicaPowers = ReadonlyMap<string, 'Running' | 'Off'> | undefined;

export class HeldLook {
  /** The newest answer of the store, when it came, and which VMs were left out of it. */
  #kept: { readonly of: string; readonly at: number; readonly held: readonly HeldReplica[] } | undefined;

  /** @param ask reads the store's replicas, except those of the given VMs. */
  constructor(private readonly ask: (known: readonly string[]) => Promise<readonly HeldReplica[]>) {}

  /** @param known VMs to leave out. @param replicaVms their current state. */
  async read(known: readonly string[], replicaVms: ReplicaPowers): Promise<readonly HeldReplica[]> {
    const of = known.join(' ');
    const now = performance.now();
    const kept = this.#kept;
    if (kept?.of === of && now - kept.at <= STORE_EVERY_MS && !alarms(kept.held, replicaVms)) return kept.held;
    const held = await this.ask(known);
    this.#kept = { of, at: now, held };
    return held;
  }
}

/**
 * A missing replica VM may have been deleted on purpose since the last look, which the vault records: old information
 * must not raise an alarm.
 */
const alarms = (held: readonly HeldReplica[], replicaVms: ReplicaPowers): boolean =>
  replicaVms !== undefined &&
  held.some(({ vm, state }) => shouldRunAsReplica(undefined, state) && replicaVms.get(vm) !== 'Running');
