import { setTimeout as sleep } from 'node:timers/promises';
import { isGrpcServiceError, type Connection } from '@temporalio/client';

/** The type of a search attribute, by the name Temporal gives it. */
export type SearchAttributeKind = 'Text' | 'Keyword' | 'Int' | 'Double' | 'Bool' | 'Datetime' | 'KeywordList';

/** Temporal's `IndexedValueType`, by name. */
const INDEXED_VALUE_TYPE: Readonly<Record<SearchAttributeKind, number>> = {
  Text: 1,
  Keyword: 2,
  Int: 3,
  Double: 4,
  Bool: 5,
  Datetime: 6,
  KeywordList: 7,
};
/** gRPC status. */
const ALREADY_EXISTS = 6;

/**
 * Registers the search attributes that a namespace lacks, and returns when all of them are listed. Does nothing if they
 * all exist. The connection must be allowed to use the operator service (Temporal Cloud has its own way to add them).
 *
 * @param timeoutMs - milliseconds to wait for the attributes to be listed
 * @throws an error that names the attribute if one exists with another type (Temporal would silently keep the old type),
 *   or if they are not listed in time; gRPC errors as they come.
 */
export async function ensureSearchAttributes(
  connection: Connection,
  namespace: string,
  keys: Readonly<Record<string, SearchAttributeKind>>,
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let missing = await missingAttributes(connection, namespace, keys);
  if (missing.length === 0) return;
  await addSearchAttributes(connection, namespace, Object.fromEntries(missing));
  while ((missing = await missingAttributes(connection, namespace, keys)).length > 0) {
    if (performance.now() > deadline) {
      const names = missing.map(([name]) => name).join(', ');
      throw new Error(
        `Search attributes ${names} of namespace ${namespace} are still not listed after ${timeoutMs} ms.`,
      );
    }
    await sleep(100);
  }
}

/**
 * Adds search attributes without checking which exist, because Temporal's time-skipping server cannot list them.
 * Attributes that exist are not an error; throws other gRPC errors unchanged.
 */
export async function addSearchAttributes(
  connection: Connection,
  namespace: string,
  keys: Readonly<Record<string, SearchAttributeKind>>,
): Promise<void> {
  const types = Object.entries(keys).map(([name, kind]) => [name, INDEXED_VALUE_TYPE[kind]] as const);
  try {
    await connection.operatorService.addSearchAttributes({ namespace, searchAttributes: Object.fromEntries(types) });
  } catch (error) {
    // Two workers that start at the same time may both find an attribute missing.
    if (!isGrpcServiceError(error) || Number(error.code) !== ALREADY_EXISTS) throw error;
  }
}

export interface LackingAttribute {
  readonly name: string;
  readonly wanted: SearchAttributeKind;
  /** Its type, if it exists with another one. */
  readonly found?: string;
}

/** Attributes that a namespace lacks or has with another type. Throws gRPC errors unchanged. */
export async function lackingAttributes(
  connection: Connection,
  namespace: string,
  keys: Readonly<Record<string, SearchAttributeKind>>,
): Promise<LackingAttribute[]> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  return Object.entries(keys).flatMap(([name, wanted]) => {
    const existing = customAttributes?.[name];
    if (existing === INDEXED_VALUE_TYPE[wanted]) return [];
    if (existing === undefined) return [{ name, wanted }];
    const found = Object.entries(INDEXED_VALUE_TYPE).find(([, type]) => type === Number(existing))?.[0];
    return [{ name, wanted, found: found ?? `${existing}` }];
  });
}

async function missingAttributes(
  connection: Connection,
  namespace: string,
  keys: Readonly<Record<string, SearchAttributeKind>>,
): Promise<[string, SearchAttributeKind][]> {
  const lacking = await lackingAttributes(connection, namespace, keys);
  for (const { name, wanted, found } of lacking) {
    if (found === undefined) continue;
    throw new Error(
      `Search attribute ${name} of namespace ${namespace} has type ${found}, but Farshore needs type ${wanted}. ` +
        'Use another namespace, or remove the attribute with temporal operator search-attribute remove.',
    );
  }
  return lacking.map(({ name, wanted }) => [name, wanted]);
}
