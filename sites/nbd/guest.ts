/**
 * An NBD client. It receives the changes of a failback, and acts as a guest in demonstrations, checks and tests, where a VM
 * would be too much.
 */
import { connect, type Socket } from 'node:net';
import type { Range } from '../../domain/ranges.js';
import {
  Command,
  CommandFlag,
  HandshakeFlag,
  Info,
  MAX_PAYLOAD,
  NBD_MAGIC,
  NbdProtocolError,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
  REPLY_BYTES,
  TransmissionFlag,
  nbdErrors,
  optionRequest,
  parseNbdUri,
  parseReply,
  writeRequest,
  type NbdErrorCode,
} from './nbd-protocol.js';
import { SocketReader } from './nbd-stream.js';

/** The server refused a request or could not perform it, or the connection was lost during the request. */
export class NbdError extends Error {
  override readonly name = 'NbdError';
  constructor(
    readonly code: NbdErrorCode | 'ECONNRESET',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

interface Pending {
  /** Receives the data of a read. */
  readonly target: Buffer | undefined;
  readonly resolve: () => void;
  readonly reject: (error: NbdError) => void;
}

export class NbdGuest {
  readonly #pending = new Map<bigint, Pending>();
  #nextCookie = 1n;
  #lost: NbdError | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly reader: SocketReader,
    /** Bytes. */
    readonly size: number,
    readonly readOnly: boolean,
  ) {}

  /**
   * @param uri as returned by `NbdServer.uri`, unix or TCP. @param exportName replaces the one in the URI.
   * @throws NbdError if the server has no such export; the system's error if it cannot be reached.
   */
  static async connect(uri: string, exportName?: string): Promise<NbdGuest> {
    const { address, exportName: named } = parseNbdUri(uri);
    const place = 'socketPath' in address ? { path: address.socketPath } : address;
    const reader = new SocketReader((onread) => connect({ ...place, onread }));
    const { socket } = reader;
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
      });
      socket.setNoDelay(true);
      const { size, flags } = await negotiate(socket, reader, exportName ?? named);
      const guest = new NbdGuest(socket, reader, size, (flags & TransmissionFlag.READ_ONLY) !== 0);
      void guest.#receive();
      return guest;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** Fills `target`, at most 32 MiB. @throws NbdError */
  read(target: Buffer, offset: number): Promise<void> {
    return this.#request(Command.READ, 0, { offset, length: target.length }, undefined, target);
  }

  /**
   * At most 32 MiB. `data` must not change until this resolves. @param options.fua resolve only when it is on stable
   * storage.
   */
  write(data: Buffer, offset: number, options: { fua?: boolean } = {}): Promise<void> {
    return this.#request(Command.WRITE, fuaFlag(options), { offset, length: data.length }, data);
  }

  writeZeroes(range: Range, options: { fua?: boolean } = {}): Promise<void> {
    return this.#request(Command.WRITE_ZEROES, fuaFlag(options), range);
  }

  trim(range: Range, options: { fua?: boolean } = {}): Promise<void> {
    return this.#request(Command.TRIM, fuaFlag(options), range);
  }

  /** Resolves when every write acknowledged before is on stable storage. */
  flush(): Promise<void> {
    return this.#request(Command.FLUSH, 0, { offset: 0, length: 0 });
  }

  /** Disconnects in order and waits until the connection is closed. Requests in progress are completed first. */
  async close(): Promise<void> {
    if (this.socket.destroyed) return;
    const closed = new Promise<void>((resolve) => this.socket.once('close', () => resolve()));
    this.socket.write(writeRequest({ command: Command.DISC, flags: 0, cookie: 0n, offset: 0, length: 0 }));
    await closed;
  }

  /** Disconnects abruptly, like a machine that loses power. */
  cut(): void {
    this.socket.destroy();
  }

  #request(command: number, flags: number, range: Range, data?: Buffer, target?: Buffer): Promise<void> {
    if ((data ?? target) && range.length > MAX_PAYLOAD) {
      return Promise.reject(new RangeError(`${range.length} bytes in one request; NBD allows ${MAX_PAYLOAD}`));
    }
    if (this.#lost) return Promise.reject(this.#lost);
    const cookie = this.#nextCookie;
    this.#nextCookie += 1n;
    return new Promise((resolve, reject) => {
      this.#pending.set(cookie, { target, resolve, reject });
      this.socket.cork();
      this.socket.write(writeRequest({ command, flags, cookie, ...range }));
      if (data && data.length > 0) this.socket.write(data);
      this.socket.uncork();
    });
  }

  async #receive(): Promise<void> {
    const header = Buffer.allocUnsafe(REPLY_BYTES);
    try {
      for (;;) {
        await this.reader.fill(header);
        const { error, cookie } = parseReply(header);
        const pending = this.#pending.get(cookie);
        if (!pending) throw new NbdProtocolError(`an answer to request ${cookie}, which is not under way`);
        if (error === 0 && pending.target) await this.reader.fill(pending.target);
        this.#pending.delete(cookie);
        if (error === 0) pending.resolve();
        else {
          const code = (Object.keys(nbdErrors) as NbdErrorCode[]).find((name) => nbdErrors[name] === error) ?? 'EIO';
          pending.reject(new NbdError(code, `the server answered ${code}`));
        }
      }
    } catch (error) {
      this.#lost = new NbdError('ECONNRESET', 'the connection is gone', { cause: error });
      this.socket.destroy();
      for (const { reject } of this.#pending.values()) reject(this.#lost);
      this.#pending.clear();
    }
  }
}

const fuaFlag = (options: { fua?: boolean }): number => (options.fua ? CommandFlag.FUA : 0);

async function negotiate(socket: Socket, reader: SocketReader, name: string): Promise<{ size: number; flags: number }> {
  const greeting = await reader.take(18);
  if (greeting.readBigUInt64BE(0) !== NBD_MAGIC || greeting.readBigUInt64BE(8) !== OPTION_MAGIC) {
    throw new NbdProtocolError('the server does not use the newstyle NBD handshake');
  }
  const flags = greeting.readUInt16BE(16) & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES);
  if (!(flags & HandshakeFlag.FIXED_NEWSTYLE))
    throw new NbdProtocolError('the server does not use the fixed newstyle handshake');
  const answer = Buffer.alloc(4);
  answer.writeUInt32BE(flags);
  const nameBytes = Buffer.from(name, 'utf8');
  const go = Buffer.alloc(4 + nameBytes.length + 2);
  go.writeUInt32BE(nameBytes.length, 0);
  nameBytes.copy(go, 4);
  socket.write(Buffer.concat([answer, optionRequest(Option.GO, go)]));
  let found: { size: number; flags: number } | undefined;
  for (;;) {
    const header = await reader.take(20);
    if (header.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw new NbdProtocolError('option reply magic');
    const type = header.readUInt32BE(12);
    const data = await reader.take(header.readUInt32BE(16));
    if (type === OptionReply.ACK) {
      if (!found) throw new NbdProtocolError('the server did not tell the size of the export');
      return found;
    }
    if (type === OptionReply.ERR_UNKNOWN) throw new NbdError('EINVAL', `the server has no export "${name}"`);
    if (type !== OptionReply.INFO)
      throw new NbdProtocolError(`the server answered ${type.toString(16)}: ${data.toString()}`);
    if (data.readUInt16BE(0) === Info.EXPORT) {
      found = { size: Number(data.readBigUInt64BE(2)), flags: data.readUInt16BE(10) };
    }
  }
}
