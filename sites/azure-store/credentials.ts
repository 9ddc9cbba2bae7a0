/** Credentials of a storage account in a process's environment, and the facts that they contain about themselves. */
import { readFileSync } from 'node:fs';
import { CatalogueError } from '../../domain/errors.js';

export const CONNECTION_STRING = 'FARSHORE_STORE_CONNECTION_STRING';
export const SAS = 'FARSHORE_STORE_SAS';

/** Required permissions of a SAS. */
const NEEDED = { r: 'read', w: 'write', d: 'delete', l: 'list' };

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Secret {
  /** Its name in messages. */
  readonly from: string;
  readonly value: string;
  /** A file may get new content while the process runs; a variable cannot. */
  readonly isOfFile: boolean;
}

/** @throws CatalogueError AuthenticationFailed */
export function secretOf(name: string, environment: Environment): Secret | undefined {
  const value = unquoted(environment[name]);
  const file = environment[`${name}_FILE`]?.trim();
  if (value && file) throw refused(`${name} and ${name}_FILE are both set: set only one`);
  if (value) return { from: name, value, isOfFile: false };
  if (!file) return undefined;
  const from = `the file ${file} (${name}_FILE)`;
  try {
    const content = unquoted(readFileSync(file, 'utf8'));
    if (content) return { from, value: content, isOfFile: true };
  } catch (error) {
    throw refused(`${from} can't be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  throw refused(`${from} is empty`);
}

/** Removes quotes that a shell, or copying into a file, has left around the value. */
const unquoted = (text: string | undefined): string | undefined =>
  text
    ?.trim()
    .replace(/^(['"])(.*)\1$/s, '$2')
    .trim();

/** A SAS in any form in which people copy it: alone, with its question mark, or after the address of its container. */
interface CopiedSas {
  /** In the form in which it is sent. */
  readonly token: string;
  /** The address before it, if any. */
  readonly address?: string;
}

export function copiedSas(text: string): CopiedSas {
  const [, address, copied = text] = /^(https?:[^?]*)\?(.*)$/s.exec(text) ?? [];
  // A plus belongs to the signature, but parsing the query would turn it into a space.
  const token = copied.replace(/^\?/, '').replaceAll('+', '%2B');
  return address === undefined ? { token } : { token, address: address.replace(/\/$/, '') };
}

/** The configured secret. @throws CatalogueError AuthenticationFailed if both kinds are configured. */
export function givenSecret(environment: Environment): (Secret & { readonly isSas: boolean }) | undefined {
  const connectionString = secretOf(CONNECTION_STRING, environment);
  const sas = secretOf(SAS, environment);
  if (connectionString && sas) {
    throw refused(`${connectionString.from} and ${sas.from} are both given: give only one`);
  }
  if (sas) return { ...sas, isSas: true };
  return connectionString && { ...connectionString, isSas: false };
}

/** The parts of a connection string, by name. */
export const partsOf = (text: string): ReadonlyMap<string, string> =>
  new Map(
    text
      .split(';')
      .filter((part) => part.includes('='))
      .map((part): [string, string] => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]),
  );

/**
 * When the SAS in this environment expires, ms since 1970; undefined for other credentials, and for a SAS whose expiry
 * is in a policy of the container. @throws CatalogueError AuthenticationFailed
 */
export function sasEnd(environment: Environment): { readonly at: number; readonly from: string } | undefined {
  const sas = secretOf(SAS, environment);
  const connectionString = secretOf(CONNECTION_STRING, environment);
  const token = sas?.value ?? partsOf(connectionString?.value ?? '').get('SharedAccessSignature');
  const from = sas?.from ?? connectionString?.from;
  if (token === undefined || from === undefined) return undefined;
  const at = endOf(new URLSearchParams(copiedSas(token).token));
  return Number.isNaN(at) ? undefined : { at, from };
}

/** NaN if the SAS has no expiry. */
const endOf = (fields: URLSearchParams): number => Date.parse(fields.get('se') ?? '');

/**
 * Reports faults that a SAS itself shows, before the service refuses it with a less specific error.
 * @param refusedAt when the service refused it, by the service's clock, ms since 1970. The start time is checked only
 * then, because this machine's clock may be behind.
 * @throws CatalogueError AuthenticationFailed, AuthorizationFailed.
 */
export function checkSas(token: string, { from, isOfFile }: Secret, refusedAt?: number): void {
  const fields = new URLSearchParams(token);
  if (!fields.has('sig')) throw refused(`${from} is not a SAS: it has no signature (sig=)`);
  const expiry = endOf(fields);
  const remedy = isOfFile ? 'in that file, then run `farshore retry`' : 'in that variable, then restart the worker';
  if (expiry <= (refusedAt ?? Date.now())) {
    throw refused(`the SAS of ${from} has expired at ${isoOf(expiry)}: put a new one ${remedy}`);
  }
  const begin = Date.parse(fields.get('st') ?? '');
  if (refusedAt !== undefined && begin > refusedAt) {
    throw refused(
      `the SAS of ${from} is not valid before ${isoOf(begin)}; the clock of this machine shows ${isoOf(Date.now())}, that of the service ${isoOf(refusedAt)}: correct the clocks, or put a SAS that begins earlier ${remedy}`,
    );
  }
  const permissions = fields.get('sp');
  const missing = Object.entries(NEEDED).filter(([letter]) => permissions !== null && !permissions.includes(letter));
  if (missing.length > 0) {
    const wanted = missing.map(([, name]) => name).join(', ');
    throw new CatalogueError(
      'AuthorizationFailed',
      `the SAS of ${from} lacks the permissions to ${wanted}: make a SAS with sp=rcwdl for the container`,
    );
  }
}

const isoOf = (ms: number): string => new Date(ms).toISOString();

export const refused = (problem: string): CatalogueError => new CatalogueError('AuthenticationFailed', problem);
