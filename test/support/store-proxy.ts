/**
 * A proxy in front of a storage service that can be made to misbehave: to hold requests, to be slow, to answer that the
 * service is busy, and to cut connections, before the service hears of a request or after it has done what was asked.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** What becomes of one request. */
export type Treatment =
  | 'forward'
  /** 503 ServerBusy, to be tried again after so many seconds. */
  | { readonly busy: number }
  /** The connection ends before the service has heard of the request. */
  | 'cutBefore'
  /** The service has done it; nobody is told. */
  | 'cutAfter'
  /** The connection ends in the middle of the answer. */
  | 'cutWithin'
  /** One bit of what is sent is another: the service, as documented, looks at `Content-MD5` where that is sent. */
  | 'flipBit'
  | { readonly delayMs: number };

export interface ProxiedRequest {
  readonly method: string;
  /** Path and query, as they were sent. */
  readonly url: string;
  /** Of its body. */
  readonly bytes: number;
}

const md5 = (body: Buffer): string => createHash('md5').update(body).digest('base64');

export class StoreProxy {
  /** Asked of each request. */
  treat: (request: ProxiedRequest) => Treatment | Promise<Treatment> = () => 'forward';
  /** How many of each. */
  readonly treated: Record<string, number> = {};

  private constructor(
    private readonly server: Server,
    private readonly target: URL,
    private readonly agent: http.Agent,
  ) {}

  /** @param url of the service, http. */
  static async start(url: string): Promise<StoreProxy> {
    const server = http.createServer({ keepAliveTimeout: 60_000 });
    const proxy = new StoreProxy(server, new URL(url), new http.Agent({ keepAlive: true }));
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      proxy.#handle(request, response).catch(() => response.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  /** Where the service is to be had through the proxy. */
  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}${this.target.pathname}`;
  }

  /** Ends every connection there is just now. */
  cutAll(): void {
    this.server.closeAllConnections();
  }

  async stop(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    this.agent.destroy();
    await once(this.server, 'close').catch(() => undefined);
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const treatment = await this.treat({ method: request.method ?? '', url: request.url ?? '', bytes: body.length });
    const name = typeof treatment === 'string' ? treatment : Object.keys(treatment)[0]!;
    this.treated[name] = (this.treated[name] ?? 0) + 1;
    if (treatment === 'cutBefore') {
      request.socket.destroy();
      return;
    }
    if (typeof treatment === 'object' && 'busy' in treatment) {
      response.writeHead(503, { 'retry-after': `${treatment.busy}`, 'x-ms-error-code': 'ServerBusy' });
      response.end();
      return;
    }
    if (typeof treatment === 'object') await sleep(treatment.delayMs);
    if (treatment === 'flipBit' && body.length > 0) body[body.length >> 1]! ^= 1;
    const checksum = request.headers['content-md5'];
    if (treatment === 'flipBit' && checksum !== undefined && checksum !== md5(body)) {
      response.writeHead(400, { 'x-ms-error-code': 'Md5Mismatch' });
      response.end();
      return;
    }
    const answer = await this.#forward(request, body);
    if (treatment === 'cutAfter') {
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.status, answer.headers);
    if (treatment === 'cutWithin' && answer.body.length > 0) {
      response.write(answer.body.subarray(0, answer.body.length >> 1), () => request.socket.destroy());
      return;
    }
    response.end(answer.body);
  }

  async #forward(
    { method, url, headers }: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }> {
    const { hostname, port } = this.target;
    return await new Promise((resolve, reject) => {
      const outgoing = http.request({ hostname, port, method, path: url, headers, agent: this.agent }, (answer) => {
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.once('error', reject);
        answer.once('end', () =>
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(parts) }),
        );
      });
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  }
}
