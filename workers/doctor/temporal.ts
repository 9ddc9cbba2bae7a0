/** Checks of Temporal: does it answer, is it new enough, is the namespace prepared, does its clock agree, who polls. */
import { isGrpcServiceError, NamespaceNotFoundError, type Connection } from '@temporalio/client';
import type { Site } from '../../domain/site.js';
import { formatDuration } from '../../domain/time.js';
import { ACTIVITIES, POLLER_GONE_MS, pollersOf, WORKFLOWS, type Poller } from '../pollers.js';
import { connectTemporal, type ConnectTarget } from '../temporal-connection.js';
import { checkNamespace, checkSearchAttributes, checkServerVersion, retentionProblem } from '../temporal-checks.js';
import { refusedCredentials } from '../temporal-problem.js';
import type { KeyRing } from '../encryption/key-ring.js';
import { ok, problem, skipped, warning, type Check, type Finding } from './check.js';
import { encryptionFindings } from './encryption.js';
import { queuesOf, type Queue } from './queues.js';
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
const NOT_FOUND = 5;

/** `ring` undefined: none are configured. */
export interface ConfiguredKeys {
  readonly ring: KeyRing | undefined;
}

/** One connection for all of these checks. */
export class TemporalDoctor {
  readonly #connection: Promise<Connection>;
  readonly #pollers = new Map<string, Promise<Poller[]>>();
  readonly #offset: Promise<{ readonly ms: number; readonly within: number } | undefined>;

  constructor(private readonly target: ConnectTarget) {
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
   * @param site undefined: the site file can't be read, and nobody knows its queues.
   * @param keys undefined: they can't be read.
   */
  checks(site: Site | undefined, keys: ConfiguredKeys | undefined): Check[] {
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
        if (retention === undefined) return skipped(`these credentials may not ask for ${namespace}`);
        const short = retentionProblem(retention, this.target);
        if (short) return problem(short.problem, short.remedy, short.configuredBy);
        return ok(`${namespace} keeps what has ended for ${formatDuration(retention)}`, namespaceBy);
      }),
      this.#check('Search attributes', async (connection) => {
        const count = await checkSearchAttributes(connection, this.target);
        return count === undefined
          ? skipped(`they can't be asked for in ${namespace}`)
          : ok(`${count} are registered in ${namespace}, with the right types`, namespaceBy);
      }),
      this.#check("Temporal's clock", async () => clockFinding(await this.#offset, `that of Temporal at ${address}`)),
      ...(site ? this.#siteChecks(site, keys) : []),
    ];
  }

  #siteChecks(site: Site, keys: ConfiguredKeys | undefined): Check[] {
    const { namespace } = this.target;
    const queues = queuesOf(site);
    return [
      ...queues.map((queue) => this.#queueCheck(queue)),
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
      this.#check('Workflows', (connection) => stuckWorkflows(connection, namespace, site.vault.name, keys?.ring)),
    ];
  }

  /** A check that has nothing to say while Temporal does not answer. */
  #check(name: string, run: (connection: Connection) => Promise<Finding | readonly Finding[]>): Check {
    return {
      name,
      run: async () => {
        const connection = await this.#connection.catch(() => undefined);
        if (!connection) return skipped('not known: Temporal does not answer');
        try {
          return await connection.withDeadline(Date.now() + ANSWER_MS, () => run(connection));
        } catch (error) {
          // Told by the check of the namespace.
          if (
            error instanceof NamespaceNotFoundError ||
            (isGrpcServiceError(error) && Number(error.code) === NOT_FOUND)
          ) {
            return skipped(`not known: there is no namespace ${this.target.namespace}`);
          }
          throw refusedCredentials(error, this.target) ?? error;
        }
      },
    };
  }

  /** Asked once for each queue, whichever checks look at it. */
  #polled(connection: Connection, queue: string, type: Queue['types'][number]): Promise<Poller[]> {
    const key = `${queue}/${type}`;
    const asked = this.#pollers.get(key) ?? pollersOf(connection.workflowService, this.target.namespace, queue, type);
    this.#pollers.set(key, asked);
    return asked;
  }

  #queueCheck({ queue, types, start }: Queue): Check {
    return this.#check(`Task queue ${queue}`, async (connection) => {
      const offset = await this.#offset.catch(() => undefined);
      const now = Date.now() + (offset?.ms ?? 0);
      const polls = await Promise.all(types.map((type) => this.#polled(connection, queue, type)));
      const lacking = types.filter((_, index) => !polls[index]!.some(({ at }) => now - at < POLLER_GONE_MS));
      const remedy = `start the worker: ${start}`;
      if (lacking.length === 0) {
        const who = new Set(polls.flat().flatMap(({ at, identity }) => (now - at < POLLER_GONE_MS ? [identity] : [])));
        return ok(`is polled by ${[...who].join(', ')}`);
      }
      const what = lacking.map((type) => (type === WORKFLOWS ? 'workflows' : 'activities')).join(' and ');
      const last = Math.max(0, ...polls.flat().map(({ at }) => at));
      const since = last > 0 ? `; the last worker asked ${formatDuration(Math.max(0, now - last))} ago` : '';
      return problem(`no worker takes ${what} from it${since}`, remedy);
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

/** @param whose the other clock, as in "that of Temporal". */
export function clockFinding(
  offset: { readonly ms: number; readonly within: number } | undefined,
  whose: string,
): Finding {
  if (!offset) return skipped(`${whose} is not told`);
  const off = Math.max(0, Math.abs(offset.ms) - offset.within);
  const message = `the clock of this machine is ${formatDuration(off)} ${offset.ms > 0 ? 'behind' : 'ahead of'} ${whose}`;
  const remedy = 'let both machines keep their clocks by the same time servers (NTP)';
  if (off >= CLOCK_PROBLEM_MS) return problem(message, remedy);
  if (off >= CLOCK_WARNING_MS) return warning(message, remedy);
  return ok(`the clock of this machine agrees with ${whose}`);
}
