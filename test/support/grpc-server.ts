/** A gRPC server that answers as it is told: as a Temporal server that nobody can have here would. */
import { createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface GrpcAnswer {
  /** @default 0: it is well */
  readonly status?: number;
  readonly message?: string;
  /** The answer's message, encoded. @default one without fields */
  readonly body?: Buffer;
}

/** Until the test ends. @param answer by the name of the method. @returns its address. */
export async function startGrpcServer(answer: (method: string) => GrpcAnswer): Promise<string> {
  const server = createServer();
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    const { status = 0, message = '', body = Buffer.alloc(0) } = answer(headers[':path']!.split('/').at(-1)!);
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': `${status}`, 'grpc-message': message }));
    const frame = Buffer.alloc(5);
    frame.writeUInt32BE(body.length, 1);
    stream.end(status === 0 ? Buffer.concat([frame, body]) : undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The first field of a message, when it is text. */
export const textField = (text: string): Buffer =>
  Buffer.concat([Buffer.from([0x0a, Buffer.byteLength(text)]), Buffer.from(text)]);
