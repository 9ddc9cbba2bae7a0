/**
 * Encrypts and decrypts for programs without keys, with Temporal's protocol for remote codecs: the Web UI, whose pages
 * ask from the browser, and the `temporal` command. POST /encode and /decode accept and return `{payloads: [{metadata,
 * data}]}`, with all bytes in base64. Anyone who can connect to it can read Temporal's data, so it listens on loopback
 * only.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Payload, PayloadCodec } from '@temporalio/common';
import { z } from 'zod';

export interface CodecServerOptions {
  readonly codec: PayloadCodec;
  /** On 127.0.0.1; 0 for any free port. */
  readonly port: number;
  /** Whether pages of this origin, for example `http://127.0.0.1:8233`, may use it. */
  readonly allows: (origin: string) => boolean;
}

const HOST = '127.0.0.1';
/** A history of 4,096 events has several MiB, and the Web UI sends many payloads in one request. */
const MAX_REQUEST_BYTES = 64 * 1024 * 1024;
/** How long a browser may cache the answer to a preflight request, seconds. */
const PREFLIGHT_AGE = '600';

const base64 = z.base64().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const requestSchema = z.object({
  payloads: z
    .array(z.object({ metadata: z.record(z.string(), base64).default({}), data: base64.default(new Uint8Array()) }))
    .default([]),
});

export class CodecServer {
  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  /** @throws EADDRINUSE and other errors of the system. */
  static async listen(options: CodecServerOptions): Promise<CodecServer> {
    const server = createServer((request, response) => void answer(request, response, options));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.port, HOST, resolve);
    });
    return new CodecServer(server, `http://${HOST}:${(server.address() as AddressInfo).port}`);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await closed;
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, options: CodecServerOptions): Promise<void> {
  try {
    const { origin } = request.headers;
    // Pages of other origins may not send requests through a browser, even if they could not read the answers.
    if (origin !== undefined && !options.allows(origin)) {
      return reply(response, 403, { message: `pages of ${origin} may not use this codec server` });
    }
    response.setHeader('vary', 'origin');
    if (origin !== undefined) response.setHeader('access-control-allow-origin', origin);
    if (request.method === 'OPTIONS') return allow(request, response);
    const direction = directionOf(request);
    if (!direction) return reply(response, 404, { message: 'POST /encode or /decode' });
    const wanted = requestSchema.safeParse(parse(await body(request)));
    if (!wanted.success) return reply(response, 400, { message: z.prettifyError(wanted.error) });
    const payloads = await options.codec[direction](wanted.data.payloads);
    reply(response, 200, { payloads: payloads.map(jsonOf) });
  } catch (error) {
    reply(response, error instanceof TooLarge ? 413 : 400, { message: (error as Error).message });
  }
}

/** The Web UI may be configured with an endpoint whose path precedes these. */
function directionOf({ method, url = '' }: IncomingMessage): 'encode' | 'decode' | undefined {
  const [, direction] = /\/(encode|decode)(?:\?.*)?$/.exec(url) ?? [];
  return method === 'POST' ? (direction as 'encode' | 'decode' | undefined) : undefined;
}

/** Answers a browser's preflight request. */
function allow(request: IncomingMessage, response: ServerResponse): void {
  const { 'access-control-request-headers': headers = 'content-type' } = request.headers;
  response.writeHead(204, {
    'access-control-allow-methods': 'POST',
    'access-control-allow-headers': headers,
    'access-control-max-age': PREFLIGHT_AGE,
  });
  response.end();
}

class TooLarge extends Error {}

async function body(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  // Too large a request still gets an answer: the connection stays open, and the rest is discarded.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > MAX_REQUEST_BYTES) throw new TooLarge(`a request of more than ${MAX_REQUEST_BYTES} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The original message would show a part of the text.
    throw new Error('the request is not JSON');
  }
}

const jsonOf = ({ metadata, data }: Payload) => ({
  metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, bytes]) => [name, textOf(bytes)])),
  data: textOf(data ?? new Uint8Array()),
});

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

function reply(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}
