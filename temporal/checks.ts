/** Is the Temporal that answers one that Farshore can work with? Each check throws a TemporalProblem that says what to do. */
import { isGrpcServiceError, type Connection } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';
import { shellWord } from '../domain/shell-word.js';
import { formatDuration } from '../domain/time.js';
import { searchAttributeTypes } from '../workflows/search-attributes.js';
import { lackingAttributes } from './search-attributes.js';
import { isSupportedServer, MINIMUM_SERVER } from './server-version.js';
import { refusedCredentials, TemporalProblem, type TemporalTarget } from './problem.js';

const DAY_MS = 24 * 60 * 60_000;
/**
 * How long a namespace has to keep what has ended, days. Less, and jobs and plan runs are gone before somebody who was
 * away for a week has seen them; the namespace that every server has, `default`, keeps them for one.
 */
const MINIMUM_RETENTION_DAYS = 7;
const WANTED_RETENTION = '90d';
/** gRPC status codes. */
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

/** @returns the server's version. @throws TemporalProblem */
export async function checkServerVersion(connection: Connection, target: TemporalTarget): Promise<string> {
  const { address, configuredBy } = target;
  const unsuitable = (problem: string, remedy: string, cause?: unknown) =>
    new TemporalProblem('TemporalUnsuitable', problem, configuredBy, remedy, { cause });
  const version = await asked(target, async () => {
    try {
      return (await connection.workflowService.getSystemInfo({})).serverVersion ?? '';
    } catch (error) {
      if (!hasStatus(error, UNIMPLEMENTED)) throw error;
      throw unsuitable(`${address} is not a Temporal server`, 'correct the address', error);
    }
  });
  if (isSupportedServer(version)) return version;
  const wanted = MINIMUM_SERVER.join('.');
  throw unsuitable(
    `The Temporal server at ${address} is version ${version === '' ? 'unknown' : version}, but Farshore needs ${wanted} or newer`,
    `upgrade it to ${wanted} or newer, or name another server`,
  );
}

/** As options of the `temporal` command. */
const where = ({ address, namespace }: TemporalTarget): string =>
  `--address ${shellWord(address)} --namespace ${shellWord(namespace)}`;

/** @returns how long it keeps what has ended, ms; undefined when that may not be asked. @throws TemporalProblem */
export async function checkNamespace(connection: Connection, target: TemporalTarget): Promise<number | undefined> {
  const { address, namespace, namespaceBy } = target;
  return await asked(target, async () => {
    try {
      const { config } = await connection.workflowService.describeNamespace({ namespace });
      const retention = config?.workflowExecutionRetentionTtl;
      return retention ? tsToMs(retention) : undefined;
    } catch (error) {
      if (mayNotAsk(error)) return undefined;
      if (!hasStatus(error, NOT_FOUND)) throw error;
      throw new TemporalProblem(
        'TemporalUnsuitable',
        `Temporal at ${address} has no namespace ${namespace}`,
        namespaceBy,
        `create it with \`farshore prepare\`, or with temporal operator namespace create ${where(target)} --retention ${WANTED_RETENTION}; or choose an existing namespace`,
        { cause: error },
      );
    }
  });
}

/** @param retentionMs of the namespace. @returns what is wrong with it. */
export function retentionProblem(retentionMs: number | undefined, target: TemporalTarget): TemporalProblem | undefined {
  if (retentionMs === undefined || retentionMs >= MINIMUM_RETENTION_DAYS * DAY_MS) return undefined;
  const { namespace, namespaceBy } = target;
  return new TemporalProblem(
    'TemporalUnsuitable',
    `The namespace ${namespace} keeps jobs and plan runs for only ${formatDuration(retentionMs)}; Farshore needs at least ${MINIMUM_RETENTION_DAYS} days`,
    namespaceBy,
    `temporal operator namespace update ${where(target)} --retention ${WANTED_RETENTION}`,
  );
}

/** @returns how many there are; undefined when that may not be asked. @throws TemporalProblem */
export async function checkSearchAttributes(
  connection: Connection,
  target: TemporalTarget,
): Promise<number | undefined> {
  const { namespace, namespaceBy } = target;
  const lacking = await asked(target, async () => {
    try {
      return await lackingAttributes(connection, namespace, searchAttributeTypes);
    } catch (error) {
      // A namespace that is not there is told by its own check.
      if (mayNotAsk(error) || hasStatus(error, NOT_FOUND)) return undefined;
      throw error;
    }
  });
  if (!lacking) return undefined;
  const unsuitable = (problem: string, remedy: string) =>
    new TemporalProblem('TemporalUnsuitable', problem, namespaceBy, remedy);
  const mistyped = lacking.find(({ found }) => found !== undefined);
  if (mistyped) {
    const { name, found, wanted } = mistyped;
    throw unsuitable(
      `The search attribute ${name} of the namespace ${namespace} has type ${found}, but needs type ${wanted}`,
      `use another namespace, or temporal operator search-attribute remove ${where(target)} --name ${name}, and then create it again`,
    );
  }
  if (lacking.length === 0) return Object.keys(searchAttributeTypes).length;
  const named = lacking.map(({ name, wanted }) => `--name ${name} --type ${wanted}`).join(' ');
  throw unsuitable(
    `The namespace ${namespace} lacks the search attributes ${lacking.map(({ name }) => name).join(', ')}`,
    `create them with \`farshore prepare\`, or with temporal operator search-attribute create ${where(target)} ${named}`,
  );
}

/** All of them at once. @returns what is not well, but hinders nobody. @throws TemporalProblem, the first. */
export async function checkTemporal(
  connection: Connection,
  target: TemporalTarget,
): Promise<TemporalProblem | undefined> {
  const [version, namespace, attributes] = await Promise.allSettled([
    checkServerVersion(connection, target),
    checkNamespace(connection, target),
    checkSearchAttributes(connection, target),
  ]);
  for (const outcome of [version, namespace, attributes]) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
  return retentionProblem(namespace.status === 'fulfilled' ? namespace.value : undefined, target);
}

async function asked<T>(target: TemporalTarget, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw refusedCredentials(error, target) ?? error;
  }
}

/** Credentials that may run workflows need not be allowed to look at a namespace; Temporal Cloud has its own ways. */
const mayNotAsk = (error: unknown): boolean => hasStatus(error, PERMISSION_DENIED) || hasStatus(error, UNIMPLEMENTED);

const hasStatus = (error: unknown, code: number): boolean => isGrpcServiceError(error) && Number(error.code) === code;
