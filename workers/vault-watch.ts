/**
 * The Azure worker's metrics of the VMs of its vault, read again and again: their states from the entities' memos in
 * Temporal, all in one list, and from the store the facts that only the store knows. While Temporal or the store does
 * not answer, the last values are kept with their time, so an RPO keeps rising.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Logger } from '@temporalio/worker';
import { shouldRunAsReplica } from '../domain/attention.js';
import { readCarried } from '../domain/carried.js';
import { vaultMeasures, type Measure, type VaultState } from '../domain/measures.js';
import { isProtected, protectedItemSchema, type ProtectedItem } from '../domain/protected-item.js';
import type { Site } from '../domain/site.js';
import { migrate } from '../domain/state-version.js';
import { toIso } from '../domain/time.js';
import { vaultPaths } from '../domain/vault.js';
import { heldReplicas } from '../replication/held-replicas.js';
import { openReplicaStore } from '../local/open-replica-store.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import type { MemoKey } from '../workflows/messages.js';

const READ_EVERY_MS = 10_000;
/** For this, the store is queried for each VM that is not protected. */
const UNATTENDED_EVERY_READS = 6;
const ANSWER_TIMEOUT_MS = 10_000;
const PAGE = 100;
const MEMO: MemoKey = 'protectedItem';

interface CountedPoints {
  /** The state of the VM when they were counted. */
  readonly at: string;
  readonly count: number;
}

/** The existing replica VMs, by name; undefined if the recovery compute does not answer. */
type ReplicaVms = () => Promise<ReadonlyMap<string, 'Running' | 'Off'> | undefined>;

export class VaultWatch {
  #state: VaultState;
  #points: ReadonlyMap<string, CountedPoints> = new Map();
  /** Sources that did not answer the last time, so that each silence is logged once. */
  readonly #silent = new Set<string>();
  readonly #stopping = new AbortController();
  readonly #ended: Promise<void>;

  private constructor(
    site: Site,
    private readonly client: Client,
    private readonly store: ReplicaStore,
    private readonly logger: Logger,
    private readonly replicaVms: ReplicaVms,
    private readonly everyMs: number,
  ) {
    this.#state = { vault: site.vault.name };
    this.#ended = this.#run(this.#stopping.signal);
  }

  /** @param everyMs time between two reads, ms. @throws CatalogueError StoreUnreachable */
  static async start(
    site: Site,
    client: Client,
    logger: Logger,
    replicaVms: ReplicaVms,
    everyMs: number = READ_EVERY_MS,
  ): Promise<VaultWatch> {
    return new VaultWatch(
      site,
      client,
      await openReplicaStore(site.vault.store, { vault: site.vault.name }),
      logger,
      replicaVms,
      everyMs,
    );
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#ended;
    await this.store.close();
  }

  measures(): Measure[] {
    return vaultMeasures(this.#state, toIso(Date.now()));
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let read = 0; !signal.aborted; read += 1) {
      await this.#read('Temporal', async () => {
        const items = await this.client.withAbortSignal(signal, () =>
          this.client.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, () => this.#items()),
        );
        this.#state = { ...this.#state, items, readAt: toIso(Date.now()) };
      });
      const { items } = this.#state;
      if (items) {
        await this.#read('The store', async () => {
          await this.#readPoints(items);
          if (read % UNATTENDED_EVERY_READS === 0) await this.#readHeld(items);
        });
      }
      await sleep(this.everyMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #read(who: string, read: () => Promise<void>): Promise<void> {
    try {
      await read();
      this.#silent.delete(who);
    } catch (error) {
      if (!this.#silent.has(who) && !this.#stopping.signal.aborted)
        this.logger.warn(`${who} does not report the state of the vault`, { error });
      this.#silent.add(who);
    }
  }

  async #items(): Promise<ProtectedItem[]> {
    const { vault } = this.#state;
    const query = `WorkflowType = 'protectVm' AND ExecutionStatus = 'Running' AND FarshoreVault = '${vault}'`;
    const items: ProtectedItem[] = [];
    for await (const { memo } of this.client.workflow.list({ query, pageSize: PAGE })) {
      // A workflow that has just begun has no memo yet.
      const { data } = readCarried(protectedItemSchema, migrate(memo?.[MEMO]));
      if (data) items.push(data);
    }
    return items;
  }

  /** The number of points changes only with cycles and with changes of the phase, so it is read again only then. */
  async #readPoints(items: readonly ProtectedItem[]): Promise<void> {
    const counted = new Map<string, CountedPoints>();
    for (const { vm, phase, epoch, applied, latestRecoveryPoint } of items) {
      const at = JSON.stringify([phase, epoch, applied?.sequence, latestRecoveryPoint?.id]);
      const before = this.#points.get(vm);
      const count = before?.at === at ? before.count : await this.#countPoints(vm);
      counted.set(vm, { at, count });
    }
    this.#points = counted;
    this.#state = { ...this.#state, points: new Map([...counted].map(([vm, { count }]) => [vm, count])) };
  }

  async #countPoints(vm: string): Promise<number> {
    return (await this.store.objects.list(vaultPaths.pointPrefix(vm))).length;
  }

  async #readHeld(items: readonly ProtectedItem[]): Promise<void> {
    // Read before the store, which knows if a replica VM is deleted meanwhile.
    const replicaVms = await this.replicaVms();
    const held = await heldReplicas(
      this.store,
      items.map(({ vm }) => vm),
    );
    this.#state = { ...this.#state, unattended: held.filter(({ asProtected }) => asProtected).length };
    if (!replicaVms) return;
    const wanted = [
      ...items.filter((item) => isProtected(item) && shouldRunAsReplica(item, undefined)),
      ...held.filter(({ state }) => shouldRunAsReplica(undefined, state)),
    ];
    this.#state = { ...this.#state, stopped: wanted.filter(({ vm }) => replicaVms.get(vm) !== 'Running').length };
  }
}
