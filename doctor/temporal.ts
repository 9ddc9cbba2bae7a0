/** Checks of Temporal: does it answer, is it new enough, is the namespace prepared, does its clock agree, who polls. */
import { Client, isGrpcServiceError, NamespaceNotFoundError, type Connection } from '@temporalio/client';
import { hostSilence } from '../domain/host-silence.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { Site } from '../domain/site.js';
import { formatDuration, toIso } from '../domain/time.js';
import { ACTIVITIES, pollersOf, type Poller } from '../temporal/pollers.js';
import { connectTemporal, type ConnectTarget } from '../temporal/connection.js';
import { checkNamespace, checkSearchAttributes, checkServerVersion, retentionProblem } from '../temporal/checks.js';
import { refusedCredentials } from '../temporal/problem.js';
import { clientDataConverter } from '../temporal/encryption/data-converter.js';
import type { KeyRing } from '../temporal/encryption/key-ring.js';
import { soon, type LocalSite } from '../local/local-site.js';
import { readHeldReplicas } from '../local/local-vault.js';
import { runningOverview } from '../temporal/running-overview.js';
import { withUntoldSilence } from '../temporal/untold-silence.js';
import { ok, problem, skipped, warning, type Check, type Finding } from './check.js';
import { encryptionFindings } from './encryption.js';
import { queueFinding, queuesOf, type Queue } from './queues.js';
import { replicationFindings } from './replication.js';
import type { Scope } from './scope.js';
import { temporalAccess } from './temporal-access.js';
import { stuckWorkflows } from './stuck-workflows.js';

/** For a connection; what does not answer is probed afterwards. ms. */
const CONNECT_MS = 4_000;
/** For each answer, ms. */
const ANSWER_MS = 8_000;
/** Less is the way there and back, and what clocks that are kept right differ by. ms. */
const CLOCK_WARNING_MS = 2_000;
/** Recovery points, fences and windows go by the clock: more makes what they say wrong. ms. */
const CLOCK_PROBLEM_MS = 30_000;
/** Nobody works on it. */
const PROBE_QUEUE = 'farshore-doctor';

/** gRPC status. */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;

/** `ring` undefined: none are configured. */
export interface ConfiguredKeys {
  readonly ring: KeyRing | undefined;
}

/** One connection for all of these checks. */
export class TemporalDoctor {
  readonly #connection: Promise<Connection>;
  readonly #pollers = new Map<string, Promise<Poller[]>>();
  #items: Promise<ReadonlyMap<string, ProtectedItem>> | undefined;
  readonly #offset: Promise<{ readonly ms: number; readonly within: number } | undefined>;

  /** @param local where an instance is up on this machine: its hypervisors can be asked. */
  constructor(
    private readonly target: ConnectTarget,
    private readonly local: LocalSite | undefined,
    /** All of the site runs on this machine: what does not answer here is gone. */
    private readonly isWhole: boolean,
  ) {
    this.#connection = connectTemporal(target, CONNECT_MS);
    // Each check looks at it by itself, and one of them tells that there is none.
    this.#connection.catch(() => undefined);
    this.#offset = this.#connection.then((connection) => clockOffset(connection, target.namespace));
    this.#offset.catch(() => undefined);
  }

  async close(): Promise<void> {
    const connection = await this.#connection.catch(() => undefined);
    await connection?.close();
  }

  /**
   * @param known undefined: the site file can't be read, and nobody knows its queues.
   * @param keys undefined: they can't be read.
   */
  checks(known: { readonly site: Site; readonly scope: Scope } | undefined, keys: ConfiguredKeys | undefined): Check[] {
    const { address, namespace, configuredBy, namespaceBy } = this.target;
    return [
      {
        name: 'Temporal',
        run: async () => {
          const version = await checkServerVersion(await this.#connection, this.target);
          return ok(`answers at ${address}, version ${version}`, configuredBy);
        },
      },
      this.#check('Namespace', async (connection) => {
        const retention = await checkNamespace(connection, this.target);
        if (retention === undefined) return skipped(`these credentials may not read ${namespace}`);
        const short = retentionProblem(retention, this.target);
        if (short) return problem(short.problem, short.remedy, short.configuredBy);
        return ok(`${namespace} has a retention of ${formatDuration(retention)}`, namespaceBy);
      }),
      this.#check('Search attributes', async (connection) => {
        const count = await checkSearchAttributes(connection, this.target);
        return count === undefined
          ? skipped(`they can't be listed in ${namespace}`)
          : ok(`all ${count} are registered in ${namespace}, with the right types`, namespaceBy);
      }),
      this.#check('Access to Temporal', () => temporalAccess(this.target)),
      this.#check("Temporal's clock", async () =>
        clockFinding(await this.#offset, `the clock of Temporal at ${address}`),
      ),
      ...(known ? this.#siteChecks(known.site, known.scope, keys) : []),
    ];
  }

  #siteChecks(site: Site, scope: Scope, keys: ConfiguredKeys | undefined): Check[] {
    const { namespace } = this.target;
    const queues = queuesOf(site.vault.name, scope);
    return [
      ...queues.map((queue) => this.#queueCheck(queue, site.vault.name, keys?.ring)),
      ...(keys
        ? [
            this.#check('Encryption', async (connection) =>
              encryptionFindings(
                await Promise.all(queues.map(({ queue, types }) => this.#polled(connection, queue, types[0]!))),
                keys.ring,
              ),
            ),
          ]
        : []),
      this.#check('Replication', async () => {
        const items = await this.protectedItems(site.vault.name, keys?.ring).catch((error: unknown) => {
          if (isGrpcServiceError(error) && Number(error.code) === INVALID_ARGUMENT) return undefined;
          throw error;
        });
        if (!items) return skipped('unknown; see the check "Search attributes"');
        const siteVms = site.vms.map(({ name }) => name);
        const silent = [...items.values()].filter((item) => hostSilence(item) !== undefined);
        const sourceVms = await this.local?.sourceStates(new Map(silent.map(({ vm, host }) => [vm, host])));
        // In this order: of a replica VM that is deleted meanwhile the store knows.
        const replicaVms = await this.local?.replicaStates();
        // What is wrong with the store has a check of its own.
        const held = await soon(readHeldReplicas(site.vault, [])).catch(() => undefined);
        return replicationFindings(items, siteVms, toIso(await this.#now()), { held, replicaVms, sourceVms });
      }),
      this.#check('Workflows', (connection) => stuckWorkflows(connection, namespace, site.vault.name, keys?.ring)),
    ];
  }

  /** A check that has nothing to say while Temporal does not answer. */
  #check(name: string, run: (connection: Connection) => Promise<Finding | readonly Finding[]>): Check {
    return {
      name,
      run: async () => {
        const connection = await this.#connection.catch(() => undefined);
        if (!connection) return skipped('unknown: Temporal does not answer');
        try {
          return await connection.withDeadline(Date.now() + ANSWER_MS, () => run(connection));
        } catch (error) {
          // Told by the check of the namespace.
          if (
            error instanceof NamespaceNotFoundError ||
            (isGrpcServiceError(error) && Number(error.code) === NOT_FOUND)
          ) {
            return skipped(`unknown: there is no namespace ${this.target.namespace}`);
          }
          throw refusedCredentials(error, this.target) ?? error;
        }
      },
    };
  }

  /** By Temporal's clock, as far as that is known, ms. */
  async #now(): Promise<number> {
    const offset = await this.#offset.catch(() => undefined);
    return Date.now() + (offset?.ms ?? 0);
  }

  /**
   * As every view reads them: what their workflows have left with the server, told of a host's silence that is found now.
   * By name of the VM. Asked once.
   */
  protectedItems(vault: string, keys: KeyRing | undefined): Promise<ReadonlyMap<string, ProtectedItem>> {
    return (this.#items ??= this.#askItems(vault, keys));
  }

  async #askItems(vault: string, keys: KeyRing | undefined): Promise<ReadonlyMap<string, ProtectedItem>> {
    const connection = await this.#connection;
    const { namespace } = this.target;
    const temporal = new Client({ connection, namespace, dataConverter: clientDataConverter(keys) });
    const { items } = await connection.withDeadline(Date.now() + ANSWER_MS, () => runningOverview(temporal, vault));
    const { local, isWhole } = this;
    const hypervisorAnswers = async (host: string) => await local?.hypervisorAnswers(host, isWhole);
    return await withUntoldSilence({ temporal, vault, hypervisorAnswers }, items);
  }

  /** Asked once for each queue, whichever checks look at it. */
  #polled(connection: Connection, queue: string, type: Queue['types'][number]): Promise<Poller[]> {
    const key = `${queue}/${type}`;
    const asked = this.#pollers.get(key) ?? pollersOf(connection.workflowService, this.target.namespace, queue, type);
    this.#pollers.set(key, asked);
    return asked;
  }

  #queueCheck(queue: Queue, vault: string, keys: KeyRing | undefined): Check {
    return this.#check(`Task queue ${queue.queue}`, async (connection) => {
      const polls = await Promise.all(queue.types.map((type) => this.#polled(connection, queue.queue, type)));
      const items = await this.protectedItems(vault, keys).catch(() => new Map<string, ProtectedItem>());
      return queueFinding(queue, polls, [...items.values()], await this.#now());
    });
  }
}

/**
 * The server tells its time nowhere but in what it notes of whoever polls: so this polls a queue where there is nothing
 * to do, and reads that. @returns how far the server's clock is ahead, and how exactly that is known, ms.
 */
async function clockOffset(
  connection: Connection,
  namespace: string,
): Promise<{ ms: number; within: number } | undefined> {
  const identity = `doctor:${process.pid}-${Date.now()}`;
  const enough = new AbortController();
  const begun = Date.now();
  const poll = connection.withDeadline(Date.now() + ANSWER_MS, () =>
    connection.withAbortSignal(enough.signal, () =>
      connection.workflowService.pollActivityTaskQueue({ namespace, taskQueue: { name: PROBE_QUEUE }, identity }),
    ),
  );
  poll.catch(() => undefined);
  try {
    while (Date.now() - begun < ANSWER_MS / 2) {
      const noted = (await pollersOf(connection.workflowService, namespace, PROBE_QUEUE, ACTIVITIES)).find(
        (poller) => poller.identity === identity,
      );
      const within = (Date.now() - begun) / 2;
      if (noted && noted.at > 0) return { ms: Math.round(noted.at - begun - within), within: Math.round(within) };
    }
    return undefined;
  } finally {
    enough.abort();
  }
}

/** @param whose the other clock, as in "the clock of Temporal". */
export function clockFinding(
  offset: { readonly ms: number; readonly within: number } | undefined,
  whose: string,
): Finding {
  if (!offset) return skipped(`${whose} cannot be read`);
  const off = Math.max(0, Math.abs(offset.ms) - offset.within);
  const message = `the clock of this machine is ${formatDuration(off)} ${offset.ms > 0 ? 'behind' : 'ahead of'} ${whose}`;
  const remedy = 'synchronize both clocks with the same time servers (NTP)';
  if (off >= CLOCK_PROBLEM_MS) return problem(message, remedy);
  if (off >= CLOCK_WARNING_MS) return warning(message, remedy);
  return ok(`the clock of this machine agrees with ${whose}`);
}
