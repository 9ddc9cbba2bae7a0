/** What a watcher knows of the replicas in the store, which is looked into now and then only. */
import { shouldRunAsReplica } from '../../domain/attention.js';
import type { HeldReplica } from '../../domain/held-replica.js';

/** The store is looked into this often at most, for replicas of VMs that Temporal does not know, ms. */
const STORE_EVERY_MS = 30_000;

type ReplicaPowers = ReadonlyMap<string, 'Running' | 'Off'> | undefined;

export class HeldLook {
  /** Beside which VMs the store was asked, when, and what it said. */
  #kept: { readonly of: string; readonly at: number; readonly held: readonly HeldReplica[] } | undefined;

  /** @param ask the store, for all VMs but these. */
  constructor(private readonly ask: (known: readonly string[]) => Promise<readonly HeldReplica[]>) {}

  /** @param known VMs to leave out. @param replicaVms as they were just now. */
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

/** A replica VM that is not there may have been deleted since on purpose, and the vault knows: no alarm by an old look. */
const alarms = (held: readonly HeldReplica[], replicaVms: ReplicaPowers): boolean =>
  replicaVms !== undefined &&
  held.some(({ vm, state }) => shouldRunAsReplica(undefined, state) && replicaVms.get(vm) !== 'Running');
