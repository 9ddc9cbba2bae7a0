/**
 * One client of the NBD server: negotiation, then requests, many at a time. Requests are read no faster than they are
 * processed: a new one is accepted only if those in flight, including unsent answers, leave room. A client that
 * violates the protocol loses its connection; other clients are not affected.
 */
import type { Socket } from 'node:net';
import type { PayloadBuffers } from './payload-buffers.js';
import { nbdErrorCode, type NbdExport } from './nbd-export.js';
import { MIN_BLOCK, negotiate, type ExportList } from './nbd-negotiation.js';
import {
  Command,
  CommandFlag,
  MAX_PAYLOAD,
  NbdProtocolError,
  REPLY_BYTES,
  REQUEST_BYTES,
  nbdErrors,
  parseRequest,
  writeReply,
  type NbdErrorCode,
  type NbdRequest,
} from './nbd-protocol.js';
import { StreamEnded, type SocketReader } from './nbd-stream.js';

/** Limit of payload bytes in flight for each connection; one request is always accepted. */
const IN_FLIGHT_BYTES = 16 * 1024 * 1024;
const IN_FLIGHT_REQUESTS = 256;

/** An export and its connections. */
export interface OpenExport {
  readonly name: string;
  readonly disk: NbdExport;
  /** Set for good when the export is being removed: requests are refused from then on. */
  closing: Promise<void> | undefined;
  readonly connections: Set<NbdConnection>;
}

/** The server's interface to its connections. */
export interface ExportDirectory extends ExportList<OpenExport> {
  /** For failures outside the protocol: the guest only gets EIO, and the details go here. */
  report(error: unknown): void;
  readonly buffers: PayloadBuffers;
}

export class NbdConnection {
  private readonly socket: Socket;
  #export: OpenExport | undefined;
  /** Payload bytes and number of the requests whose answer has not been sent yet. */
  #bytes = 0;
  #requests = 0;
  /** Number of requests that the disk is processing. */
  #executing = 0;
  #roomWanted: (() => void) | undefined;
  #idleWanted: (() => void)[] = [];
  #corked = false;

  constructor(
    private readonly reader: SocketReader,
    private readonly server: ExportDirectory,
  ) {
    this.socket = reader.socket;
    this.socket.setNoDelay(true);
  }

  /**
   * Serves until the client leaves or is disconnected, and the disk has completed all its requests. Does not reject.
   */
  async serve(): Promise<void> {
    try {
      const opened = await negotiate(this.socket, this.reader, this.server, (found) => this.#enter(found));
      if (opened) await this.#transmit(opened);
      this.socket.end();
    } catch (error) {
      const left = error instanceof StreamEnded || (error as NodeJS.ErrnoException).syscall !== undefined;
      if (!left && !(error instanceof NbdProtocolError)) this.server.report(error);
      this.socket.destroy();
    } finally {
      await this.#idle();
      this.#export?.connections.delete(this);
    }
  }

  /**
   * For an export that is closing: waits until the disk has completed this client's requests, sends the answers, and
   * ends the connection. A client that does not read its answers within `graceMs` does not get them.
   */
  async settle(graceMs: number): Promise<void> {
    await this.#idle();
    if (this.socket.destroyed) return;
    const closed = new Promise<void>((resolve) => this.socket.once('close', () => resolve()));
    const timer = setTimeout(() => this.socket.destroy(), graceMs);
    this.socket.end();
    await closed;
    clearTimeout(timer);
  }

  destroy(): void {
    this.socket.destroy();
  }

  #enter(found: OpenExport): void {
    this.#export = found;
    found.connections.add(this);
  }

  async #idle(): Promise<void> {
    if (this.#executing > 0) await new Promise<void>((resolve) => this.#idleWanted.push(resolve));
  }

  async #transmit(opened: OpenExport): Promise<void> {
    const header = Buffer.allocUnsafe(REQUEST_BYTES);
    for (;;) {
      await this.reader.fill(header);
      const request = parseRequest(header);
      if (request.command === Command.DISC) return this.#idle();
      const payload = request.command === Command.WRITE || request.command === Command.READ ? request.length : 0;
      if (payload > MAX_PAYLOAD && request.command === Command.WRITE) {
        throw new NbdProtocolError(`a write of ${payload} bytes`);
      }
      while (this.#requests > 0 && (this.#bytes + payload > IN_FLIGHT_BYTES || this.#requests >= IN_FLIGHT_REQUESTS)) {
        await new Promise<void>((resolve) => {
          this.#roomWanted = resolve;
        });
      }
      let data: Buffer | undefined;
      if (request.command === Command.WRITE) {
        data = this.server.buffers.acquire(payload);
        await this.reader.fill(data.subarray(0, payload));
      }
      // From here on, the request counts as accepted: removing the export waits for it, or it is refused.
      const refusal = refuse(request, opened);
      this.#requests += 1;
      this.#bytes += payload;
      if (refusal) {
        if (data) this.server.buffers.release(data);
        this.#answer(request, payload, nbdErrors[refusal]);
      } else void this.#execute(request, opened.disk, data, payload);
    }
  }

  /** Does not reject: the request is answered in any case. @param data the payload of a write. */
  async #execute(request: NbdRequest, disk: NbdExport, data: Buffer | undefined, payload: number): Promise<void> {
    const { command, offset, length } = request;
    const durability = { fua: (request.flags & CommandFlag.FUA) !== 0 };
    const content = command === Command.READ ? this.server.buffers.acquire(payload) : undefined;
    let error = 0;
    this.#executing += 1;
    try {
      if (command === Command.FLUSH) await disk.flush();
      else if (length === 0) error = 0;
      else if (content) await disk.read(content.subarray(0, length), offset);
      else if (data) await disk.write(data.subarray(0, length), offset, durability);
      else if (command === Command.TRIM && disk.trim) await disk.trim({ offset, length }, durability);
      // NO_HOLE is accepted but has no effect: these disks are thin, and zeroes never take space.
      else await disk.writeZeroes({ offset, length }, durability);
    } catch (failure) {
      error = nbdErrors[nbdErrorCode(failure)];
      this.server.report(failure);
    }
    if (data) this.server.buffers.release(data);
    this.#answer(request, payload, error, content);
    this.#executing -= 1;
    if (this.#executing === 0) for (const wanted of this.#idleWanted.splice(0)) wanted();
  }

  /** @param content the data that was read. */
  #answer(request: NbdRequest, payload: number, error: number, content?: Buffer): void {
    const sent = () => {
      if (content) this.server.buffers.release(content);
      this.#requests -= 1;
      this.#bytes -= payload;
      this.#roomWanted?.();
      this.#roomWanted = undefined;
    };
    if (!this.socket.writable) return sent();
    if (!this.#corked) {
      // Sends answers that become ready at the same time together.
      this.#corked = true;
      this.socket.cork();
      setImmediate(() => {
        this.#corked = false;
        this.socket.uncork();
      });
    }
    const header = Buffer.allocUnsafe(REPLY_BYTES);
    writeReply(header, request.cookie, error);
    if (error === 0 && content && payload > 0) {
      this.socket.write(header);
      this.socket.write(content.subarray(0, payload), sent);
    } else this.socket.write(header, sent);
  }
}

/** Why a request is refused, if it is. */
function refuse(request: NbdRequest, { disk, closing }: OpenExport): NbdErrorCode | undefined {
  const { command, flags, offset, length } = request;
  if (closing) return 'ESHUTDOWN';
  const allowed: number = command === Command.WRITE_ZEROES ? CommandFlag.FUA | CommandFlag.NO_HOLE : CommandFlag.FUA;
  if (flags & ~allowed) return 'EINVAL';
  switch (command) {
    case Command.FLUSH:
      return undefined;
    case Command.READ:
      if (length > MAX_PAYLOAD) return 'EOVERFLOW';
      break;
    case Command.WRITE:
    case Command.TRIM:
    case Command.WRITE_ZEROES:
      if (disk.readOnly) return 'EPERM';
      break;
    default:
      return 'EINVAL';
  }
  if (offset % MIN_BLOCK !== 0 || length % MIN_BLOCK !== 0) return 'EINVAL';
  if (offset + length > disk.size) return command === Command.READ || command === Command.TRIM ? 'EINVAL' : 'ENOSPC';
  return undefined;
}
