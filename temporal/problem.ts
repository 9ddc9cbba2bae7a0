/** A problem of the configured Temporal: its description, the place where the fault is configured, and the remedy. */
import { failureCatalogue, type FailureClass, type FailureCode } from '../domain/errors.js';

/** The codes of the catalogue that describe problems of Temporal itself. */
export type TemporalProblemCode = Extract<
  FailureCode,
  'TemporalUnreachable' | 'TemporalUnsuitable' | 'TlsMismatch' | 'AuthenticationFailed' | 'AuthorizationFailed'
>;

/** A Temporal, and where each part of its address is configured, worded to follow "configured by". */
export interface TemporalTarget {
  /** Host and port. */
  readonly address: string;
  readonly namespace: string;
  readonly configuredBy: string;
  readonly namespaceBy: string;
}

export class TemporalProblem extends Error {
  override readonly name = 'TemporalProblem';
  constructor(
    readonly code: TemporalProblemCode,
    /** A sentence without a full stop. */
    readonly problem: string,
    /** Worded to follow "configured by". */
    readonly configuredBy: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(`${problem} (configured by ${configuredBy})\n  Remedy: ${remedy}`, options);
  }

  get class(): FailureClass {
    return failureCatalogue[this.code].class;
  }
}

/** gRPC status codes. */
const UNAUTHENTICATED = 16;
const PERMISSION_DENIED = 7;

/** The credentials were refused, whatever the request was; undefined for every other error. */
export function refusedCredentials(error: unknown, target: TemporalTarget): TemporalProblem | undefined {
  const { address, namespace, configuredBy } = target;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = Number((cause as { code?: unknown }).code);
    const said = (cause as { details?: unknown }).details;
    const detail = typeof said === 'string' && said !== '' ? `: ${said}` : '';
    if (code === UNAUTHENTICATED) {
      const problem = `Temporal at ${address} rejected the credentials${detail}`;
      const remedy = 'correct the API key (TEMPORAL_API_KEY) or the client certificate (TEMPORAL_TLS_CLIENT_CERT_PATH)';
      return new TemporalProblem('AuthenticationFailed', problem, configuredBy, `${remedy}, or those of the profile`, {
        cause: error,
      });
    }
    if (code === PERMISSION_DENIED) {
      const problem = `Temporal at ${address} refused the request in the namespace ${namespace}${detail}`;
      const remedy = 'grant these credentials the right to write in the namespace, or correct its name';
      return new TemporalProblem('AuthorizationFailed', problem, configuredBy, remedy, { cause: error });
    }
  }
  return undefined;
}
