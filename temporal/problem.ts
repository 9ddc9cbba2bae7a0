/** What is wrong with the Temporal that is configured: what it is, where that was configured, and what to do. */
import { failureCatalogue, type FailureClass, type FailureCode } from '../domain/errors.js';

/** The codes of the catalogue that Temporal itself can be told by. */
export type TemporalProblemCode = Extract<
  FailureCode,
  'TemporalUnreachable' | 'TemporalUnsuitable' | 'TlsMismatch' | 'AuthenticationFailed' | 'AuthorizationFailed'
>;

/** A Temporal and where each part of that was configured, as it reads after "configured by". */
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
    /** A sentence without its end. */
    readonly problem: string,
    /** As it reads after "configured by". */
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

/** A refusal of the credentials, whatever was asked; undefined for every other error. */
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
