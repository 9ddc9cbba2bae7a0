/** What the storage service, or the way to it, answers, in the words of the catalogue. */
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

/** Of Node's network layer and of TLS, as `code` of the error or of its cause. */
const NETWORK =
  /^(E(TIMEDOUT|CONN\w+|PIPE|AI_AGAIN|NOTFOUND|HOSTUNREACH|NETUNREACH|NETDOWN|HOSTDOWN|ADDRNOTAVAIL)|REQUEST_SEND_ERROR|PARSE_ERROR|ENOTFOUND)$/;
const TLS =
  /CERT|SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)|ERR_TLS|ERR_SSL|^EPROTO$|ALTNAME|packet length too long|wrong version number/;

/** What `@azure/identity` throws when nobody is logged in, or is refused. */
const IDENTITY = /^(CredentialUnavailable|AggregateAuthentication|Authentication(Required)?)Error$/;
const NO_BEARER = /Bearer token authentication is not permitted/;

/** Further apart than this, and the service takes no signature. Milliseconds. */
const CLOCK_TOLERANCE = 15 * 60_000;

/** The service's own code, which an answer without a body has in a header alone. */
export const serviceCode = (error: unknown): string | undefined =>
  error instanceof RestError ? (error.code ?? error.response?.headers.get('x-ms-error-code')) : undefined;

/** Whether the service does not take the credentials, or does not let them do this. */
export const isRefusal = (error: unknown): error is RestError =>
  error instanceof RestError && (error.statusCode === 401 || error.statusCode === 403);

/** Whether it was given up for want of an answer. */
export const isTimeout = (error: unknown): boolean =>
  error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError');

/** Whether the same request may well succeed in a moment. */
export function isRecoverable(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'StoreUnreachable' || code === 'UploadDamaged';
}

/** @returns the error to throw: of the catalogue where it has one, else the error itself, which is a bug. */
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
  // The emulator's words for a checksum that does not fit.
  if (/contentMD5 doesn't match/i.test(error.message)) return 'UploadDamaged';
  // And its code for a lack of permission.
  if (/failed to authenticate/i.test(error.message)) return 'AuthenticationFailed';
  if (status === 401) return 'AuthenticationFailed';
  if (status === 403) return 'AuthorizationFailed';
  return 'InvalidReplicaState';
}

/** The codes and messages of an error and of what caused it, short and without a stack. */
function causes(error: Error): string[] {
  const found: string[] = [];
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth += 1) {
    found.push(String((at as NodeJS.ErrnoException).code ?? ''), at.message);
  }
  return found;
}

const NO_CREDENTIALS =
  'no credentials were found: set FARSHORE_STORE_SAS or FARSHORE_STORE_CONNECTION_STRING, or either with _FILE, or log in (az login)';

/** What the service says of itself, in one line, and never what was sent: an address may hold a signature. */
function reasonOf(error: Error): string {
  if (isTimeout(error)) return 'it did not answer in time';
  // Each way that was tried has lines of its own there; the credentials that were asked for stand beside.
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
