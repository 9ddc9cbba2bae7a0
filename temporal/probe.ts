/** Finds out step by step what answers at an address: the SDK only reports that there was no connection in time. */
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls';

/** The TLS settings of a connection, in the SDK's form. */
export interface WantedTls {
  readonly serverName?: string | undefined;
  readonly serverRootCa?: Uint8Array | undefined;
  readonly clientCert?: { readonly crt: Uint8Array; readonly key: Uint8Array } | undefined;
}

export type Answer =
  /** Nothing is listening: the system's error code, for example `ECONNREFUSED`, `ENOTFOUND` or `ETIMEDOUT`. */
  | { readonly kind: 'none'; readonly errno: string }
  /** The connection is accepted, but there is no answer. */
  | { readonly kind: 'silent' }
  /** The server uses TLS although none is configured, or the reverse. */
  | { readonly kind: 'tlsUnwanted' }
  | { readonly kind: 'tlsMissing' }
  /** Its certificate, or ours, is not accepted. */
  | { readonly kind: 'certificate'; readonly reason: string }
  /** It does not speak HTTP/2, on which Temporal's protocol is based. */
  | { readonly kind: 'stranger' }
  /** It speaks HTTP/2 as Temporal does, even if it is too slow. */
  | { readonly kind: 'http2' };

/** Time limit for each step, ms. */
const STEP_MS = 3_000;

/** @param address host and port. @param wanted undefined for a connection without TLS. */
export async function probe(address: string, wanted: WantedTls | undefined): Promise<Answer> {
  const { hostname, port: given } = new URL(`tcp://${address}`);
  const host = hostname.replace(/^\[|\]$/g, '');
  const port = given === '' ? DEFAULT_PORT : Number(given);
  const errno = await tcpProblem(host, port);
  if (errno !== undefined) return { kind: 'none', errno };
  const unchecked = await tlsOutcome({ host, port, ALPNProtocols: ['h2'], rejectUnauthorized: false });
  if (!wanted) return unchecked === undefined ? { kind: 'tlsUnwanted' } : await plainAnswer(host, port, unchecked);
  if (unchecked !== undefined) return unchecked === SILENT ? { kind: 'silent' } : { kind: 'tlsMissing' };
  const reason = await tlsOutcome({
    ...{ host, port, ALPNProtocols: ['h2'] },
    // Without a server name, the certificate is not checked for one.
    ...(wanted.serverName !== undefined && { servername: wanted.serverName }),
    ...(wanted.serverRootCa && { ca: Buffer.from(wanted.serverRootCa) }),
    ...(wanted.clientCert && { cert: Buffer.from(wanted.clientCert.crt), key: Buffer.from(wanted.clientCert.key) }),
  });
  return reason === undefined ? { kind: 'http2' } : { kind: 'certificate', reason };
}

/** The default port of Temporal and of the SDK. */
const DEFAULT_PORT = 7233;
const SILENT = 'no answer';

/** @returns the error's code; undefined if the connection is accepted. */
function tcpProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port, timeout: STEP_MS });
    const end = (errno: string | undefined) => {
      socket.destroy();
      resolve(errno);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end('ETIMEDOUT'));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

/** @returns why there is no TLS connection; undefined if there is. */
function tlsOutcome(options: TlsOptions): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connectTls({ ...options, timeout: STEP_MS });
    const end = (reason: string | undefined) => {
      socket.destroy();
      resolve(reason);
    };
    socket.once('secureConnect', () => end(undefined));
    socket.once('timeout', () => end(SILENT));
    socket.once('close', () => end('the connection was closed'));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.message));
  });
}

/** @param outcome of the attempt to use TLS. */
function plainAnswer(host: string, port: number, outcome: string): Promise<Answer> {
  return new Promise((resolve) => {
    const authority = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    const session = connectHttp2(authority);
    const end = (answer: Answer) => {
      clearTimeout(late);
      session.destroy();
      resolve(answer);
    };
    const late = setTimeout(() => end({ kind: outcome === SILENT ? 'silent' : 'stranger' }), STEP_MS);
    session.once('remoteSettings', () => end({ kind: 'http2' }));
    session.on('error', () => end({ kind: 'stranger' }));
    session.once('close', () => end({ kind: 'stranger' }));
  });
}
