/** Can Farshore work with the Temporal that answers? Each check throws a TemporalProblem that says what to do. */
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
 * How long a namespace must keep closed workflows, days. With less, an operator who was away for a week would not see
 * its jobs and plan runs. The namespace `default`, which every server has, keeps them for one day.
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

/** The target as options of the `temporal` command. */
const where = ({ address, namespace }: TemporalTarget): string =>
  `--address ${shellWord(address)} --namespace ${shellWord(namespace)}`;

/** @returns the retention, ms; undefined if there is no permission to read it. @throws TemporalProblem */
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

/** @param retentionMs of the namespace. @returns the problem, if there is one. */
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

/** @returns their number; undefined if there is no permission to read them. @throws TemporalProblem */
export async function checkSearchAttributes(
  connection: Connection,
  target: TemporalTarget,
): Promise<number | undefined> {
  const { namespace, namespaceBy } = target;
  const lacking = await asked(target, async () => {
    try {
      return await lackingAttributes(connection, namespace, searchAttributeTypes);
    } catch (error) {
      // A missing namespace is reported by its own check.
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

/** Runs all checks in parallel. @returns defects that prevent nothing. @throws TemporalProblem, the first. */
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

/** Credentials that may run workflows need not be allowed to read a namespace; Temporal Cloud does this differently. */
const mayNotAsk = (error: unknown): boolean => hasStatus(error, PERMISSION_DENIED) || hasStatus(error, UNIMPLEMENTED);

const hasStatus = (error: unknown, code: number): boolean => isGrpcServiceError(error) && Number(error.code) === code;
