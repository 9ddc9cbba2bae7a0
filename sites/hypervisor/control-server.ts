/** Serves the control interface. A request runs to its end even if the client has given up on it. */
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { CatalogueError } from '../../domain/errors.js';
import {
  hypervisorOperations,
  recoveryOperations,
  type changeOperations,
  type Handlers,
  type Operations,
} from './control-protocol.js';
import type { EmbeddedChanges } from './embedded-changes.js';
import type { EmbeddedHypervisor } from './hypervisor.js';
import type { EmbeddedRecoveryCompute } from './recovery-compute.js';

const MAX_REQUEST_BYTES = 1024 * 1024;

export interface ControlLog {
  warn(message: string, error: unknown): void;
}

const done = (action: Promise<void>): Promise<null> => action.then(() => null);

const changeHandlers = (source: EmbeddedChanges): Handlers<typeof changeOperations> => ({
  listVms: async () => source.listVms(),
  describeVm: ({ vm }) => source.describeVm(vm),
  beginReplication: ({ vm, epoch }) => done(source.beginReplication(vm, epoch)),
  continueReplication: ({ vm, epoch, unchangedSince }) => done(source.continueReplication(vm, epoch, unchangedSince)),
  endReplication: ({ vm, ofEpoch }) => done(source.endReplication(vm, ofEpoch)),
  snapshotFile: ({ vm, epoch, disk }) => source.snapshotFile(vm, epoch, disk),
  mergeSnapshot: ({ vm }) => source.mergeSnapshot(vm),
  cut: ({ vm, fence, ...options }) => source.cut(vm, fence, options),
  snapshotAndCut: ({ vm, fence }) => source.snapshotAndCut(vm, fence),
  releaseCuts: (upTo) => done(source.releaseCuts(upTo)),
});

export const serveHypervisor = (socketPath: string, hypervisor: EmbeddedHypervisor, log: ControlLog) =>
  ControlServer.listen(socketPath, hypervisorOperations, log, {
    ...changeHandlers(hypervisor),
    listFiles: () => hypervisor.listFiles(),
    removeFiles: ({ kind, vm }) => done(hypervisor.removeFiles(kind, vm)),
    startVm: ({ vm, epoch }) => done(hypervisor.startVm(vm, epoch)),
    shutDownVm: ({ vm }) => hypervisor.shutDownVm(vm),
    turnOffVm: ({ vm }) => done(hypervisor.turnOffVm(vm)),
    fenceVm: ({ vm, epoch }) => done(hypervisor.fenceVm(vm, epoch)),
    beginFailback: ({ vm, epoch }) => hypervisor.beginFailback(vm, epoch),
    serveFailback: async ({ vm, fence }) => (await hypervisor.serveFailback(vm, fence)) ?? null,
    completeFailback: ({ vm, fence }) => done(hypervisor.completeFailback(vm, fence)),
    commitFailback: ({ vm, epoch }) => done(hypervisor.commitFailback(vm, epoch)),
    discardFailback: ({ vm, epoch }) => done(hypervisor.discardFailback(vm, epoch)),
  });

export const serveRecoveryCompute = (socketPath: string, compute: EmbeddedRecoveryCompute, log: ControlLog) =>
  ControlServer.listen(socketPath, recoveryOperations, log, {
    ...changeHandlers(compute),
    listFiles: () => compute.listFiles(),
    removeFiles: ({ kind, vm }) => done(compute.removeFiles(kind, vm)),
    createVm: (spec) => done(compute.createVm(spec)),
    startVm: ({ vm, epoch }) => compute.startVm(vm, epoch),
    shutDownVm: ({ vm }) => compute.shutDownVm(vm),
    turnOffVm: ({ vm, ...which }) => done(compute.turnOffVm(vm, which)),
    deleteVm: ({ vm, ...which }) => done(compute.deleteVm(vm, which)),
    listWritten: ({ vm, disk, from, ofSnapshot }) => compute.writtenFrom(vm, disk, from, ofSnapshot),
    listTestVms: async () => compute.testVms.list(),
    createTestVm: (spec) => done(compute.testVms.create(spec)),
    startTestVm: ({ vm }) => compute.testVms.start(vm),
    turnOffTestVm: ({ vm }) => done(compute.testVms.turnOff(vm)),
    deleteTestVm: ({ vm }) => done(compute.testVms.delete(vm)),
    readTestConsole: async ({ vm }) => (await compute.testVms.console(vm)).toString('base64'),
    readTestScreen: async ({ vm }) => (await compute.testVms.screen(vm))?.toString('base64') ?? null,
    runInTestVm: ({ vm, command, limitMs }) => compute.testVms.run(vm, command, limitMs),
  });

export class ControlServer {
  private constructor(private readonly server: Server) {}

  /**
   * Only the socket's owner can use it. Replaces an existing socket: the lock of the state folder already ensures that
   * no other process uses it.
   */
  static async listen<T extends Operations>(
    socketPath: string,
    operations: T,
    log: ControlLog,
    handlers: Handlers<T>,
  ): Promise<ControlServer> {
    const answerFor = handlers as Readonly<Record<string, ((input: unknown) => Promise<unknown>) | undefined>>;
    const server = createServer((request, response) => {
      void answer(request, response, operations, answerFor, log);
    });
    await rm(socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      // Sets the mode before anyone can connect. The socket is bound within the call, so that no other file created
      // meanwhile gets this mode.
      const mask = process.umask(0o177);
      try {
        server.listen(socketPath, () => resolve());
      } finally {
        process.umask(mask);
      }
    });
    return new ControlServer(server);
  }

  /** Waits for the requests that are being answered. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
      this.server.closeIdleConnections();
    });
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  operations: Operations,
  handlers: Readonly<Record<string, ((input: unknown) => Promise<unknown>) | undefined>>,
  log: ControlLog,
): Promise<void> {
  const name = (request.url ?? '').slice(1);
  try {
    const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
    const handler = operation && handlers[name];
    if (request.method !== 'POST' || !operation || !handler) {
      reply(response, 404, { code: 'Unexpected', detail: `no operation ${request.method} /${name}` });
      return;
    }
    const input = operation.input.safeParse(JSON.parse(await body(request)));
    if (!input.success) {
      reply(response, 400, { code: 'Unexpected', detail: `${name}: ${input.error.message}` });
      return;
    }
    reply(response, 200, { result: await handler(input.data) });
  } catch (error) {
    if (error instanceof CatalogueError) {
      reply(response, 409, { code: error.code, detail: error.detail });
      return;
    }
    log.warn(`${name} failed`, error);
    reply(response, 500, { code: 'Unexpected', detail: `${name}: ${(error as Error).message}` });
  }
}

async function body(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > MAX_REQUEST_BYTES) throw new Error(`a request of more than ${MAX_REQUEST_BYTES} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function reply(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify(value));
}
