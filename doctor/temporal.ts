/** Checks of Temporal: does it answer, is it new enough, is the namespace prepared, does its clock agree, who polls? */
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

/** Limit for a connection, ms; an address that does not answer is probed afterwards. */
const CONNECT_MS = 4_000;
/** Limit for each answer, ms. */
const ANSWER_MS = 8_000;
/** A smaller difference may be the delay of the network, or between clocks that are kept right, ms. */
const CLOCK_WARNING_MS = 2_000;
/** Recovery points, fences and windows depend on clocks: a larger difference makes them wrong, ms. */
const CLOCK_PROBLEM_MS = 30_000;
/** No worker polls this queue. */
const PROBE_QUEUE = 'farshore-doctor';

/** gRPC status. */
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;

/** `ring` undefined if no keys are configured. */
export interface ConfiguredKeys {
  readonly ring: KeyRing | undefined;
}

/** All of these checks share one connection. */
export class TemporalDoctor {
  readonly #connection: Promise<Connection>;
  readonly #pollers = new Map<string, Promise<Poller[]>>();
  #items: Promise<ReadonlyMap<string, ProtectedItem>> | undefined;
  readonly #offset: Promise<{ readonly ms: number; readonly within: number } | undefined>;

  /** @param local if an instance runs on this machine, so that its hypervisors can be asked. */
  constructor(
    private readonly target: ConnectTarget,
    private readonly local: LocalSite | undefined,
    /** The whole site runs on this machine: a process that does not answer here is gone. */
    private readonly isWhole: boolean,
  ) {
    this.#connection = connectTemporal(target, CONNECT_MS);
    // Each check awaits the connection itself, and one of them reports that there is none.
    this.#connection.catch(() => undefined);
    this.#offset = this.#connection.then((connection) => clockOffset(connection, target.namespace));
    this.#offset.catch(() => undefined);
  }

  async close(): Promise<void> {
    const connection = await this.#connection.catch(() => undefined);
    await connection?.close();
  }

  /**
   * @param known undefined if the site file cannot be read, so that its queues are unknown.
   * @param keys undefined if they cannot be read.
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
        // The order matters: if a replica VM is deleted meanwhile, the store knows it.
        const replicaVms = await this.local?.replicaStates();
        // The store has a check of its own.
        const held = await soon(readHeldReplicas(site.vault, [])).catch(() => undefined);
        return replicationFindings(items, siteVms, toIso(await this.#now()), { held, replicaVms, sourceVms });
      }),
      this.#check('Workflows', (connection) => stuckWorkflows(connection, namespace, site.vault.name, keys?.ring)),
    ];
  }

  /** A check that is skipped while Temporal does not answer. */
  #check(name: string, run: (connection: Connection) => Promise<Finding | readonly Finding[]>): Check {
    return {
      name,
      run: async () => {
        const connection = await this.#connection.catch(() => undefined);
        if (!connection) return skipped('unknown: Temporal does not answer');
        try {
          return await connection.withDeadline(Date.now() + ANSWER_MS, () => run(connection));
        } catch (error) {
          // The check of the namespace reports it.
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

  /** Current time by Temporal's clock if it is known, otherwise by this machine's, ms. */
  async #now(): Promise<number> {
    const offset = await this.#offset.catch(() => undefined);
    return Date.now() + (offset?.ms ?? 0);
  }

  /**
   * As all commands read them: the states that workflows leave with the server, completed by a host's silence if one is
   * found now. By name of the VM; requested once.
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

  /** Asks once for each queue, whichever checks need it. */
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
 * The server reveals its time only in its records of pollers. So this polls a queue without work and reads the record.
 * @returns how far the server's clock is ahead, and the uncertainty, ms.
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
