/** The address at which a worker serves its metrics. */

export interface MetricsAddress {
  /** A name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** The address is invalid or not available. */
export class MetricsAddressError extends Error {
  override readonly name = 'MetricsAddressError';
}

export const METRICS_VARIABLE = 'FARSHORE_METRICS_ADDRESS';
const LOOPBACK = '127.0.0.1';

/**
 * @param text `HOST:PORT`, or `PORT` alone for loopback; an IPv6 address in brackets.
 * @param field where it was given, for the error.
 * @throws MetricsAddressError
 */
export function parseMetricsAddress(text: string, field: string): MetricsAddress {
  const [, host = LOOPBACK, digits] = /^(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits !== undefined && port >= 1 && port <= 65_535) return { host: host.replace(/^\[|\]$/g, ''), port };
  throw new MetricsAddressError(
    `${field}: not an address to serve metrics at (value: ${JSON.stringify(text)})\n` +
      '  Remedy: write HOST:PORT, with a port from 1 to 65535, such as 127.0.0.1:9464; PORT alone means loopback',
  );
}

/** From the environment; an empty value counts as not set. @throws MetricsAddressError */
export function configuredMetricsAddress(): MetricsAddress | undefined {
  const text = process.env[METRICS_VARIABLE];
  return text ? parseMetricsAddress(text, METRICS_VARIABLE) : undefined;
}

export const formatAddress = ({ host, port }: MetricsAddress): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;
