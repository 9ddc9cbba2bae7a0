/** Checks of Temporal: does it answer, is it new enough, is the namespace prepared, does its clock agree, who polls. */
import { isGrpcServiceError, type Connection } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';
import { taskQueues } from '../../domain/ids.js';
import { hostsOf, type Site } from '../../domain/site.js';
import { formatDuration } from '../../domain/time.js';
import { connectTemporal, type ConnectTarget } from '../temporal-connection.js';
import { checkNamespace, checkSearchAttributes, checkServerVersion, retentionProblem } from '../temporal-checks.js';
import { refusedCredentials } from '../temporal-problem.js';
import { ok, problem, skipped, warning, type Check, type Finding } from './check.js';

/** For a connection; what does not answer is probed afterwards. ms. */
const CONNECT_MS = 4_000;
/** For each answer, ms. */
const ANSWER_MS = 8_000;
/** Less is the way there and back, and what clocks that are kept right differ by. ms. */
const CLOCK_WARNING_MS = 2_000;
/** Recovery points, fences and windows go by the clock: more makes what they say wrong. ms. */
const CLOCK_PROBLEM_MS = 30_000;
/** A poll lasts a minute at most: who has not asked for longer is gone. ms. */
const POLLER_GONE_MS = 80_000;
/** Nobody works on it. */
const PROBE_QUEUE = 'farshore-doctor';

/** gRPC status. */
const NOT_FOUND = 5;
/** gRPC's names of what a queue holds. */
const WORKFLOWS = 1;
const ACTIVITIES = 2;

/** One connection for all of these checks. */
export class TemporalDoctor {
  readonly #connection: Promise<Connection>;
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

  /** @param site undefined: the site file can't be read, and nobody knows its queues. */
  checks(site: Site | undefined): Check[] {
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
      ...(site ? queuesOf(site).map((queue) => this.#queueCheck(queue)) : []),
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
          if (isGrpcServiceError(error) && Number(error.code) === NOT_FOUND) {
            return skipped(`not known: there is no namespace ${this.target.namespace}`);
          }
          throw refusedCredentials(error, this.target) ?? error;
        }
      },
    };
  }

  #queueCheck({ queue, types, start }: Queue): Check {
    const { namespace } = this.target;
    return this.#check(`Task queue ${queue}`, async (connection) => {
      const offset = await this.#offset.catch(() => undefined);
      const now = Date.now() + (offset?.ms ?? 0);
      const polls = await Promise.all(types.map((type) => pollersOf(connection, namespace, queue, type)));
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

interface Queue {
  readonly queue: string;
  readonly types: readonly number[];
  /** The command that starts its worker. */
  readonly start: string;
}

function queuesOf(site: Site): Queue[] {
  const vault = site.vault.name;
  const start = (role: string, name: string) => `farshore worker --role ${role} --name ${name}`;
  return [
    { queue: taskQueues.azure(vault), types: [WORKFLOWS, ACTIVITIES], start: start('azure', vault) },
    ...site.vmmServers.map(({ name }) => ({
      ...{ queue: taskQueues.vmm(name), types: [ACTIVITIES], start: start('vmm', name) },
    })),
    ...hostsOf(site).map(({ name }) => ({
      ...{ queue: taskQueues.host(name), types: [ACTIVITIES], start: start('host', name) },
    })),
  ];
}

async function pollersOf(connection: Connection, namespace: string, queue: string, type: number) {
  const { pollers } = await connection.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: queue },
    taskQueueType: type,
  });
  return (pollers ?? []).map(({ identity, lastAccessTime }) => ({
    identity: identity ?? 'somebody without a name',
    at: lastAccessTime ? tsToMs(lastAccessTime) : 0,
  }));
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
      const noted = (await pollersOf(connection, namespace, PROBE_QUEUE, ACTIVITIES)).find(
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
