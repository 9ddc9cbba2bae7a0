/**
 * One client of the NBD server: negotiation, then requests, many at a time. What the client sends is read no faster
 * than it is worked off: a new request is taken only while those in flight, answers not yet sent included, leave room.
 * A client that breaks the protocol loses its connection, and no one else notices.
 */
import type { Socket } from 'node:net';
import type { BufferPool } from './nbd-buffers.js';
import { nbdErrorCode, type NbdExport } from './nbd-export.js';
import {
  Command,
  CommandFlag,
  HandshakeFlag,
  Info,
  MAX_PAYLOAD,
  NBD_MAGIC,
  NbdProtocolError,
  OPTION_MAGIC,
  Option,
  OptionReply,
  REPLY_BYTES,
  REQUEST_BYTES,
  TransmissionFlag,
  nbdErrors,
  optionReply,
  parseRequest,
  writeReply,
  type NbdErrorCode,
  type NbdRequest,
} from './nbd-protocol.js';
import { SocketReader, StreamEnded } from './nbd-stream.js';

/** Payload bytes in flight per connection; one request is always let through. */
const IN_FLIGHT_BYTES = 16 * 1024 * 1024;
const IN_FLIGHT_REQUESTS = 256;
const MAX_OPTION_BYTES = 64 * 1024;
const MIN_BLOCK = 512;
const PREFERRED_BLOCK = 4096;

/** An export and those who use it. */
export interface OpenExport {
  readonly name: string;
  readonly disk: NbdExport;
  /** Set for good once the export is being removed: requests are refused from then on. */
  closing: Promise<void> | undefined;
  readonly connections: Set<NbdConnection>;
}

/** What a connection needs of its server. */
export interface ExportDirectory {
  /** An export that is not closing. */
  find(name: string): OpenExport | undefined;
  names(): string[];
  /** For failures that are no part of the protocol: the guest is told EIO, this is told the rest. */
  report(error: unknown): void;
  readonly buffers: BufferPool;
}

export class NbdConnection {
  readonly #reader: SocketReader;
  #export: OpenExport | undefined;
  /** Payload bytes and number of the requests whose answer is not sent yet. */
  #bytes = 0;
  #requests = 0;
  /** Requests the disk is still busy with. */
  #executing = 0;
  #roomWanted: (() => void) | undefined;
  #idleWanted: (() => void)[] = [];
  #corked = false;

  constructor(
    private readonly socket: Socket,
    private readonly server: ExportDirectory,
  ) {
    socket.setNoDelay(true);
    this.#reader = new SocketReader(socket);
  }

  /** Serves until the client leaves or is thrown out, and the disk has done all it asked for. Does not reject. */
  async serve(): Promise<void> {
    try {
      const opened = await this.#negotiate();
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
   * For an export that is closing: waits until the disk is done with what this client asked for, sends the answers and
   * ends the connection. A client that does not fetch its answers within `graceMs` goes without.
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

  async #idle(): Promise<void> {
    if (this.#executing > 0) await new Promise<void>((resolve) => this.#idleWanted.push(resolve));
  }

  /** @returns undefined when the client wants to go. */
  async #negotiate(): Promise<OpenExport | undefined> {
    const greeting = Buffer.allocUnsafe(18);
    greeting.writeBigUInt64BE(NBD_MAGIC, 0);
    greeting.writeBigUInt64BE(OPTION_MAGIC, 8);
    greeting.writeUInt16BE(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES, 16);
    this.socket.write(greeting);
    const clientFlags = (await this.#reader.take(4)).readUInt32BE(0);
    if (clientFlags & ~(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)) {
      throw new NbdProtocolError(`unknown client flags ${clientFlags.toString(16)}`);
    }
    for (;;) {
      const header = await this.#reader.take(16);
      if (header.readBigUInt64BE(0) !== OPTION_MAGIC) throw new NbdProtocolError('option magic');
      const option = header.readUInt32BE(8);
      const length = header.readUInt32BE(12);
      if (length > MAX_OPTION_BYTES) throw new NbdProtocolError(`an option of ${length} bytes`);
      const data = await this.#reader.take(length);
      switch (option) {
        case Option.EXPORT_NAME: {
          const opened = this.#open(data.toString('utf8'));
          if (!opened) throw new NbdProtocolError('this option knows no other answer to an unknown name');
          const answer = Buffer.alloc(clientFlags & HandshakeFlag.NO_ZEROES ? 10 : 134);
          answer.writeBigUInt64BE(BigInt(opened.disk.size), 0);
          answer.writeUInt16BE(transmissionFlags(opened.disk), 8);
          this.socket.write(answer);
          return opened;
        }
        case Option.GO:
        case Option.INFO: {
          const opened = this.#answerInfo(option, data);
          if (opened && option === Option.GO) return opened;
          break;
        }
        case Option.LIST:
          this.#list(data);
          break;
        case Option.ABORT:
          this.socket.write(optionReply(option, OptionReply.ACK));
          return undefined;
        default:
          this.socket.write(optionReply(option, OptionReply.ERR_UNSUP));
      }
    }
  }

  #open(name: string): OpenExport | undefined {
    const found = this.server.find(name);
    if (!found) return undefined;
    this.#export = found;
    found.connections.add(this);
    return found;
  }

  /** @returns the export when the client may have it. */
  #answerInfo(option: number, data: Buffer): OpenExport | undefined {
    const nameLength = data.length < 6 ? Infinity : data.readUInt32BE(0);
    if (nameLength > data.length - 6 || data.length !== 6 + nameLength + 2 * data.readUInt16BE(4 + nameLength)) {
      this.socket.write(optionReply(option, OptionReply.ERR_INVALID));
      return undefined;
    }
    const name = data.toString('utf8', 4, 4 + nameLength);
    const found = option === Option.GO ? this.#open(name) : this.server.find(name);
    if (!found) {
      this.socket.write(optionReply(option, OptionReply.ERR_UNKNOWN, Buffer.from(`no export "${name}"`)));
      return undefined;
    }
    const info = Buffer.allocUnsafe(12);
    info.writeUInt16BE(Info.EXPORT, 0);
    info.writeBigUInt64BE(BigInt(found.disk.size), 2);
    info.writeUInt16BE(transmissionFlags(found.disk), 10);
    const blocks = Buffer.allocUnsafe(14);
    blocks.writeUInt16BE(Info.BLOCK_SIZE, 0);
    blocks.writeUInt32BE(MIN_BLOCK, 2);
    blocks.writeUInt32BE(PREFERRED_BLOCK, 6);
    blocks.writeUInt32BE(MAX_PAYLOAD, 10);
    this.socket.write(optionReply(option, OptionReply.INFO, info));
    this.socket.write(optionReply(option, OptionReply.INFO, blocks));
    this.socket.write(optionReply(option, OptionReply.ACK));
    return found;
  }

  #list(data: Buffer): void {
    if (data.length > 0) {
      this.socket.write(optionReply(Option.LIST, OptionReply.ERR_INVALID));
      return;
    }
    for (const name of this.server.names()) {
      const entry = Buffer.alloc(4 + Buffer.byteLength(name));
      entry.writeUInt32BE(entry.length - 4, 0);
      entry.write(name, 4);
      this.socket.write(optionReply(Option.LIST, OptionReply.SERVER, entry));
    }
    this.socket.write(optionReply(Option.LIST, OptionReply.ACK));
  }

  async #transmit(opened: OpenExport): Promise<void> {
    const header = Buffer.allocUnsafe(REQUEST_BYTES);
    for (;;) {
      await this.#reader.fill(header);
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
        await this.#reader.fill(data.subarray(0, payload));
      }
      // From here on the request counts as taken: removing the export waits for it, or it is refused.
      const refusal = refuse(request, opened);
      this.#requests += 1;
      this.#bytes += payload;
      if (refusal) {
        if (data) this.server.buffers.release(data);
        this.#answer(request, payload, nbdErrors[refusal]);
      } else void this.#execute(request, opened.disk, data, payload);
    }
  }

  /** Does not reject: whatever happens, the request is answered. @param data the payload of a write. */
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
      // NO_HOLE is taken and not followed: these disks are thin, zeroes are never given space.
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

  /** @param content what was read. */
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
      // Answers that become ready together leave together.
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

function transmissionFlags(disk: NbdExport): number {
  const { HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN } = TransmissionFlag;
  const common = HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN;
  return disk.readOnly ? common | READ_ONLY : common | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES;
}

/** Why a request is not carried out. */
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
