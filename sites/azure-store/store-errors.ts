/** Translates errors of the storage service, and of the connection to it, into the catalogue. */
import { RestError } from '@azure/storage-blob';
import { CatalogueError, type FailureCode } from '../../domain/errors.js';

/** By the service's own error codes. */
const byCode: Readonly<Record<string, FailureCode>> = {
  AuthenticationFailed: 'AuthenticationFailed',
  InvalidAuthenticationInfo: 'AuthenticationFailed',
  NoAuthenticationInformation: 'AuthenticationFailed',
  ContainerNotFound: 'StoreNotFound',
  ResourceNotFound: 'StoreNotFound',
  ContainerBeingDeleted: 'StoreUnreachable',
  AccountBeingCreated: 'StoreUnreachable',
  ServerBusy: 'StoreUnreachable',
  Md5Mismatch: 'UploadDamaged',
  InvalidMd5: 'UploadDamaged',
  BlobTypeNotSupported: 'StoreUnsuitable',
  FeatureNotSupportedForAccount: 'StoreUnsuitable',
  BlobTypeNotSupportedForAccount: 'StoreUnsuitable',
  EndpointUnsupported: 'StoreUnsuitable',
};

/** Errors of Node's network layer and of TLS, as `code` of the error or its cause. */
const NETWORK =
  /^(E(TIMEDOUT|CONN\w+|PIPE|AI_AGAIN|NOTFOUND|HOSTUNREACH|NETUNREACH|NETDOWN|HOSTDOWN|ADDRNOTAVAIL)|REQUEST_SEND_ERROR|PARSE_ERROR|ENOTFOUND)$/;
const TLS =
  /CERT|SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)|ERR_TLS|ERR_SSL|^EPROTO$|ALTNAME|packet length too long|wrong version number/;

/** Errors of `@azure/identity` when there is no login, or it is refused. */
const IDENTITY = /^(CredentialUnavailable|AggregateAuthentication|Authentication(Required)?)Error$/;
const NO_BEARER = /Bearer token authentication is not permitted/;

/** With a larger difference of the clocks, the service accepts no signature. Milliseconds. */
const CLOCK_TOLERANCE = 15 * 60_000;

/** The service's own code; an answer without a body has it only in a header. */
export const serviceCode = (error: unknown): string | undefined =>
  error instanceof RestError ? (error.code ?? error.response?.headers.get('x-ms-error-code')) : undefined;

/** Whether the service does not accept the credentials, or they lack a permission. */
export const isRefusal = (error: unknown): error is RestError =>
  error instanceof RestError && (error.statusCode === 401 || error.statusCode === 403);

/** Whether the request was given up because it got no answer. */
export const isTimeout = (error: unknown): boolean =>
  error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError');

/** Whether the same request may succeed in a moment. */
export function isRecoverable(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'StoreUnreachable' || code === 'UploadDamaged';
}

/** @returns the error to throw: one of the catalogue if possible, otherwise the error itself, which is a bug. */
export function storeError(error: unknown, doing: string, where: string): unknown {
  if (error instanceof CatalogueError) return error;
  const code = codeOf(error);
  if (code === undefined) return error;
  return new CatalogueError(code, `${doing} in ${where}: ${reasonOf(error as Error)}`, { cause: error });
}

function codeOf(error: unknown): FailureCode | undefined {
  if (!(error instanceof Error) || error instanceof CatalogueError) return undefined;
  if (causes(error).some((text) => TLS.test(text))) return 'TlsMismatch';
  if (isTimeout(error)) return 'StoreUnreachable';
  if (IDENTITY.test(error.name) || NO_BEARER.test(error.message)) return 'AuthenticationFailed';
  if (error instanceof RestError) return ofAnswer(error);
  const { code } = error as NodeJS.ErrnoException;
  return code !== undefined && NETWORK.test(code) ? 'StoreUnreachable' : undefined;
}

function ofAnswer(error: RestError): FailureCode {
  const known = byCode[serviceCode(error) ?? ''];
  const status = error.statusCode;
  if (known) return known;
  if (status === undefined || status === 408 || status === 429 || status >= 500) return 'StoreUnreachable';
  // The emulator's text for a wrong checksum.
  if (/contentMD5 doesn't match/i.test(error.message)) return 'UploadDamaged';
  // The emulator's code for a missing permission.
  if (/failed to authenticate/i.test(error.message)) return 'AuthenticationFailed';
  if (status === 401) return 'AuthenticationFailed';
  if (status === 403) return 'AuthorizationFailed';
  return 'InvalidReplicaState';
}

/** The codes and messages of an error and its causes, short and without stacks. */
function causes(error: Error): string[] {
  const found: string[] = [];
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth += 1) {
    found.push(String((at as NodeJS.ErrnoException).code ?? ''), at.message);
  }
  return found;
}

const NO_CREDENTIALS =
  'no credentials were found: set FARSHORE_STORE_SAS or FARSHORE_STORE_CONNECTION_STRING, or either with _FILE, or log in (az login)';

/** The service's own explanation in one line, never the request: its address may contain a signature. */
function reasonOf(error: Error): string {
  if (isTimeout(error)) return 'it did not answer in time';
  // This error has lines for each way that was tried; the credentials are named separately.
  if (IDENTITY.test(error.name)) return NO_CREDENTIALS;
  const [first = ''] = error.message.split('\n');
  const text = first.replace(/\?[^\s"']*(sig|se|sv)=[^\s"']*/g, '?…').trim();
  if (!(error instanceof RestError)) return text;
  const { code, statusCode, response, details } = error;
  const detail = (details as { authenticationErrorDetail?: string } | undefined)?.authenticationErrorDetail;
  const skew = clockSkew(response?.headers.get('date'), statusCode);
  return [
    `${text}${statusCode === undefined || text.includes(code ?? ' ') ? '' : ` (${[statusCode, code].filter(Boolean).join(' ')})`}`,
    ...(detail === undefined ? [] : [detail]),
    ...(skew === undefined ? [] : [skew]),
  ].join('; ');
}

function clockSkew(date: string | undefined, status: number | undefined): string | undefined {
  if (date === undefined || status !== 403) return undefined;
  const ahead = Date.now() - Date.parse(date);
  if (!(Math.abs(ahead) > CLOCK_TOLERANCE)) return undefined;
  const minutes = Math.round(Math.abs(ahead) / 60_000);
  return `the clock of this machine is ${minutes} minutes ${ahead > 0 ? 'ahead of' : 'behind'} the service's: correct it`;
}
