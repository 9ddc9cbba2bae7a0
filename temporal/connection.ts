/** Connects to the configured Temporal, and explains failures. */
import { Connection } from '@temporalio/client';
import { configuredServer, type ConfiguredServer } from './configured-server.js';
import { directIfLoopback } from './direct-loopback.js';
import { checkTemporal } from './checks.js';
import { FARSHORE_NAMESPACE } from './server/dev-server.js';
import { probe, type WantedTls } from './probe.js';
import { refusedCredentials, TemporalProblem, type TemporalTarget } from './problem.js';

export interface ConnectTarget extends TemporalTarget {
  /** TLS, API key and metadata; the address is in the target. */
  readonly connectionOptions: ConfiguredServer['connectionOptions'];
}

/** Defaults. */
const DEFAULT_ADDRESS = 'localhost:7233';
const DEFAULT_NAMESPACE_BY = 'default; override with TEMPORAL_NAMESPACE';

/** Time limit for a connection, ms; a server that is starting has this long to answer. */
const CONNECT_TIMEOUT_MS = 10_000;

/** @throws TemporalProblem */
export async function connectTemporal(
  target: ConnectTarget,
  timeoutMs: number = CONNECT_TIMEOUT_MS,
): Promise<Connection> {
  const { address, connectionOptions } = target;
  try {
    return await Connection.connect({
      ...connectionOptions,
      ...directIfLoopback(address),
      ...{ address, connectTimeout: timeoutMs },
    });
  } catch (error) {
    throw await problemOf(error, target);
  }
}

/**
 * Connects, and checks that Farshore can work with the server.
 * @param onRemark called with defects that prevent nothing. @throws TemporalProblem
 */
export async function connectChecked(
  target: ConnectTarget,
  onRemark: (problem: TemporalProblem) => void,
): Promise<Connection> {
  const connection = await connectTemporal(target);
  try {
    const remark = await connection.withDeadline(Date.now() + CONNECT_TIMEOUT_MS, () =>
      checkTemporal(connection, target),
    );
    if (remark) onRemark(remark);
    return connection;
  } catch (error) {
    await connection.close();
    throw error instanceof TemporalProblem ? error : await problemOf(error, target);
  }
}

/** @param given settings known without the environment, and their source; each overrides the environment's. */
export function connectTarget(
  given: { readonly address?: string; readonly namespace?: string; readonly configuredBy?: string } = {},
): ConnectTarget {
  const server = given.address === undefined ? configuredServer() : undefined;
  const by = given.configuredBy ?? 'the caller';
  const namespace = given.namespace ?? server?.namespace;
  return {
    address: given.address ?? server?.address ?? DEFAULT_ADDRESS,
    namespace: namespace ?? FARSHORE_NAMESPACE,
    connectionOptions: server?.connectionOptions ?? {},
    configuredBy: given.address === undefined ? (server?.configuredBy ?? 'default') : by,
    namespaceBy: given.namespace === undefined ? (server?.namespaceBy ?? DEFAULT_NAMESPACE_BY) : by,
  };
}

/** Why there is no connection, as far as this machine can find out. */
export async function problemOf(error: unknown, target: ConnectTarget): Promise<TemporalProblem> {
  const { address, configuredBy } = target;
  const credentials = refusedCredentials(error, target);
  if (credentials) return credentials;
  const problem = (code: TemporalProblem['code'], what: string, remedy: string) =>
    new TemporalProblem(code, what, configuredBy, remedy, { cause: error });
  // The address is not valid.
  if (error instanceof TypeError || !URL.canParse(`tcp://${address}`)) {
    return problem('TemporalUnsuitable', `${address} is not an address of a Temporal server`, 'write it as host:port');
  }
  const answer = await probe(address, wantedTls(target.connectionOptions));
  const away = `Temporal does not answer at ${address}`;
  const start = 'start it (with `farshore up` for an instance of this machine)';
  switch (answer.kind) {
    case 'none':
      return problem('TemporalUnreachable', `${away}: ${meaningOf(answer.errno)}`, `${start}, or correct the address`);
    case 'silent':
      return problem(
        'TemporalUnreachable',
        `${away}: a process accepts the connection but does not reply`,
        'check whether that process hangs, or correct the address',
      );
    case 'http2':
      return problem(
        'TemporalUnreachable',
        `${away} in time, although a server is running there`,
        'wait until it has started, or check its log',
      );
    case 'tlsUnwanted':
      return problem(
        'TlsMismatch',
        `The server at ${address} requires TLS, but the connection is configured without TLS`,
        'set TEMPORAL_TLS=true, add a table `tls` to the profile, or correct the address',
      );
    case 'tlsMissing':
      return problem(
        'TlsMismatch',
        `The server at ${address} does not support TLS, but the connection is configured with TLS`,
        'set TEMPORAL_TLS=false, or `disabled = true` in the table `tls` of the profile (an API key also turns TLS on), or correct the address',
      );
    case 'certificate':
      return problem(
        'TlsMismatch',
        `No secure connection to ${address} could be made: ${answer.reason}`,
        'set the CA of the server certificate (TEMPORAL_TLS_SERVER_CA_CERT_PATH), the server name (TEMPORAL_TLS_SERVER_NAME), or a client certificate that the server accepts',
      );
    case 'stranger':
      return problem(
        'TemporalUnsuitable',
        `The server at ${address} is not a Temporal server`,
        'correct the address: use that of the gRPC service (default port 7233), not that of the Web UI',
      );
  }
}

function meaningOf(errno: string): string {
  switch (errno) {
    case 'ECONNREFUSED':
      return 'no process listens there';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the host name cannot be resolved';
    case 'ETIMEDOUT':
      return 'the machine does not answer';
    default:
      return errno;
  }
}

function wantedTls({ tls, apiKey }: ConnectTarget['connectionOptions']): WantedTls | undefined {
  if (tls === false || tls === null || (tls === undefined && apiKey === undefined)) return undefined;
  if (tls === true || tls === undefined) return {};
  const { serverNameOverride, serverRootCACertificate, clientCertPair } = tls;
  return { serverName: serverNameOverride, serverRootCa: serverRootCACertificate, clientCert: clientCertPair };
}
