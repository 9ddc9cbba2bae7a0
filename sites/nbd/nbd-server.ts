/** Serves disks over NBD, on a unix socket or a port of this machine. Any NBD client can be a guest. */
import { rm } from 'node:fs/promises';
import {
  Socket,
  connect,
  createServer,
  type AddressInfo,
  type ListenOptions,
  type OnReadOpts,
  type Server,
  type SocketConstructorOpts,
} from 'node:net';
import { PayloadBuffers } from './payload-buffers.js';
import { NbdConnection, type ExportDirectory, type OpenExport } from './nbd-connection.js';
import type { NbdExport } from './nbd-export.js';
import { nbdUri, type NbdAddress } from './nbd-protocol.js';
import { SocketReader } from './nbd-stream.js';

/** Time that a client has to read its last answers after its export was removed, ms. */
const GRACE_MS = 1000;

export interface NbdServerOptions {
  /** Called with every failure of a disk; the guest only gets an error number. */
  readonly report?: (error: unknown) => void;
}

export class NbdServer {
  readonly #exports = new Map<string, OpenExport>();
  /** Each with a promise that resolves when it has ended. */
  readonly #connections = new Map<NbdConnection, Promise<void>>();
  readonly #directory: ExportDirectory;

  private constructor(
    private readonly server: Server,
    readonly address: NbdAddress,
    report: (error: unknown) => void,
  ) {
    this.#directory = {
      find: (name) => {
        const found = this.#exports.get(name);
        return found?.closing ? undefined : found;
      },
      names: () => [...this.#exports.values()].filter((each) => !each.closing).map((each) => each.name),
      report,
      buffers: new PayloadBuffers(),
    };
    server.on('connection', (socket) => this.#accept(socket));
  }

  /**
   * Only its owner can open a unix socket; one that a killed process has left is replaced. NBD has no authentication:
   * use ports on the loopback interface only.
   * @param where.port 0 for any free port.
   * @throws EADDRINUSE and other errors of the system.
   */
  static async listen(where: NbdAddress, options: NbdServerOptions = {}): Promise<NbdServer> {
    // Nothing may be read before the reader has the socket.
    const server = createServer({ pauseOnConnect: true });
    const report = options.report ?? (() => undefined);
    if ('socketPath' in where) {
      if (await isAbandoned(where.socketPath)) await rm(where.socketPath, { force: true });
      // This makes the mode right from the start, because `listen` binds before it returns.
      const mask = process.umask(0o177);
      const opened = listening(server, { path: where.socketPath });
      process.umask(mask);
      await opened;
      return new NbdServer(server, where, report);
    }
    await listening(server, { host: where.host, port: where.port });
    const { port } = server.address() as AddressInfo;
    return new NbdServer(server, { host: where.host, port }, report);
  }

  /** @throws Error if the name is taken. */
  addExport(name: string, disk: NbdExport): void {
    if (this.#exports.has(name)) throw new Error(`there is an export "${name}" already`);
    this.#exports.set(name, { name, disk, closing: undefined, connections: new Set() });
  }

  /**
   * Immediately refuses new requests (ESHUTDOWN) and new connections. Resolves when everything in flight is completed
   * and answered and the connections are closed; the disk is not used afterwards. A repeated call waits for the same
   * end; an unknown name does nothing.
   */
  async removeExport(name: string): Promise<void> {
    const removed = this.#exports.get(name);
    if (!removed) return;
    removed.closing ??= Promise.all([...removed.connections].map((connection) => connection.settle(GRACE_MS))).then(
      () => void this.#exports.delete(name),
    );
    await removed.closing;
  }

  uri(name: string): string {
    return nbdUri(this.address, name);
  }

  /** Removes all exports and stops listening. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    await Promise.all([...this.#exports.keys()].map((name) => this.removeExport(name)));
    for (const connection of this.#connections.keys()) connection.destroy();
    await Promise.all(this.#connections.values());
    await closed;
  }

  #accept(socket: Socket): void {
    const reader = new SocketReader((onread) => takeOver(socket, onread));
    const connection = new NbdConnection(reader, this.#directory);
    const served = connection.serve().finally(() => this.#connections.delete(connection));
    this.#connections.set(connection, served);
  }
}

/**
 * Turns an accepted connection into a socket that reads into our own buffers. Node supports that only for client
 * sockets. So the system's handle is given to a new socket, and the accepted one is discarded without it.
 */
function takeOver(accepted: Socket, onread: OnReadOpts): Socket {
  const shell = accepted as { _handle?: unknown };
  const options = { handle: shell._handle, onread, readable: true, writable: true };
  const socket = new Socket(options as SocketConstructorOpts);
  shell._handle = null;
  accepted.destroy();
  return socket;
}

function listening(server: Server, where: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** True for a socket file on which no process listens. */
function isAbandoned(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
