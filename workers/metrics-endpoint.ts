/**
 * Serves all metrics of a worker at one address, in Prometheus's format.
 *
 * Counters of activities and workflows go through the SDK's meters and are served by the SDK's own server, which
 * listens on loopback and is queried from here. That server never forgets a series. So states are added here, and
 * evaluated at each request: a VM that is no longer protected disappears, and values that depend on the time are
 * current.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { Measure } from '../domain/measures.js';
import { EXPOSITION_TYPE, exposition, withoutSdkLabels } from './exposition.js';
import { formatAddress, MetricsAddressError, type MetricsAddress } from './metrics-address.js';

/** The SDK answers from memory, ms. */
const SDK_TIMEOUT_MS = 5_000;

export class MetricsEndpoint {
  readonly #server: Server;
  #measures: () => readonly Measure[] = () => [];
  #sdkUrl: string | undefined;

  private constructor(readonly address: MetricsAddress) {
    this.#server = createServer((request, response) => {
      const isKnown = request.method === 'GET' && request.url?.split('?', 1)[0] === '/metrics';
      void (isKnown ? this.#text() : Promise.resolve(undefined)).then(
        (text) => {
          if (text === undefined) response.writeHead(404).end();
          else response.writeHead(200, { 'content-type': EXPOSITION_TYPE }).end(text);
        },
        (error: unknown) => {
          response.writeHead(500, { 'content-type': 'text/plain' }).end(`${(error as Error).message}\n`);
        },
      );
    });
  }

  /** @throws MetricsAddressError if it cannot listen at the address. */
  static async open(address: MetricsAddress): Promise<MetricsEndpoint> {
    const endpoint = new MetricsEndpoint(address);
    const { host, port } = address;
    endpoint.#server.listen(port, host);
    try {
      await once(endpoint.#server, 'listening');
    } catch (error) {
      throw new MetricsAddressError(
        `metrics can't be served at ${formatAddress(address)}: ${(error as Error).message}\n` +
          '  Remedy: choose another address with --metrics or FARSHORE_METRICS_ADDRESS, or stop the process that listens there',
        { cause: error },
      );
    }
    return endpoint;
  }

  /** @param measures called at each request. */
  tell(measures: () => readonly Measure[]): void {
    this.#measures = measures;
  }

  /** To be called when the SDK's own server is up. @param port of 127.0.0.1 */
  addSdk(port: number): void {
    this.#sdkUrl = `http://127.0.0.1:${port}/metrics`;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  async #text(): Promise<string> {
    const own = exposition(this.#measures());
    if (this.#sdkUrl === undefined) return own;
    const answer = await fetch(this.#sdkUrl, { signal: AbortSignal.timeout(SDK_TIMEOUT_MS) });
    return withoutSdkLabels(await answer.text()) + own;
  }
}
