/** Offers disks over NBD, on a unix socket or a port of this machine. Any NBD client is a guest. */
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

/** How long a client may take, ms, to fetch its last answers once its export is gone. */
const GRACE_MS = 1000;

export interface NbdServerOptions {
  /** Is told of every failure of a disk; the guest only ever sees an error number. */
  readonly report?: (error: unknown) => void;
}

export class NbdServer {
  readonly #exports = new Map<string, OpenExport>();
  /** Each with what resolves when it has come to its end. */
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
   * A unix socket can be opened by its owner only; one that a killed process left behind is replaced. NBD has no log-in:
   * keep a port to the loopback interface.
   * @param where.port 0 for any free one.
   * @throws EADDRINUSE and whatever else the system says.
   */
  static async listen(where: NbdAddress, options: NbdServerOptions = {}): Promise<NbdServer> {
    // Nothing may be read before the reader has the socket.
    const server = createServer({ pauseOnConnect: true });
    const report = options.report ?? (() => undefined);
    if ('socketPath' in where) {
      if (await isAbandoned(where.socketPath)) await rm(where.socketPath, { force: true });
      // The mode is right from the first moment on: binding happens before `listen` returns.
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

  /** @throws Error when the name is taken. */
  addExport(name: string, disk: NbdExport): void {
    if (this.#exports.has(name)) throw new Error(`there is an export "${name}" already`);
    this.#exports.set(name, { name, disk, closing: undefined, connections: new Set() });
  }

  /**
   * Refuses new requests (ESHUTDOWN) at once, and new connections; resolves when what was in flight is done and
   * answered and its connections are closed. The disk is not touched afterwards. Repeated, it waits
   * for the same end; an unknown name is none.
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
 * An accepted connection as a socket that reads into buffers of ours. A server of Node's cannot be told to make such,
 * though a client can; so the system's handle is given to a new socket, and the accepted one is put away without it.
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

/** True for a socket file nobody listens on. */
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
