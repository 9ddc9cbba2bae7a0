/**
 * The NBD wire format, as far as our client and server use it: fixed newstyle negotiation, simple replies. Numbers are
 * big-endian. All names are those of the protocol's doc/proto.md.
 */

export const NBD_MAGIC = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const REPLY_MAGIC = 0x67446698;

export const REQUEST_BYTES = 28;
export const REPLY_BYTES = 16;
/** The largest payload of one request, bytes: clients may assume that every server supports it. */
export const MAX_PAYLOAD = 32 * 1024 * 1024;

export const HandshakeFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const Option = { EXPORT_NAME: 1, ABORT: 2, LIST: 3, INFO: 6, GO: 7 } as const;

export const OptionReply = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  ERR_UNSUP: 0x8000_0001,
  ERR_INVALID: 0x8000_0003,
  ERR_UNKNOWN: 0x8000_0006,
} as const;

export const Info = { EXPORT: 0, BLOCK_SIZE: 3 } as const;

export const TransmissionFlag = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
  CAN_MULTI_CONN: 256,
} as const;

export const Command = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, WRITE_ZEROES: 6 } as const;

export const CommandFlag = { FUA: 1, NO_HOLE: 2 } as const;

/** The errors that a reply may contain; any other error is sent as EIO. */
export const nbdErrors = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;
export type NbdErrorCode = keyof typeof nbdErrors;

/** The other end violated the protocol, so the connection cannot continue. */
export class NbdProtocolError extends Error {
  override readonly name = 'NbdProtocolError';
}

export interface NbdRequest {
  readonly flags: number;
  readonly command: number;
  readonly cookie: bigint;
  /** Bytes; Infinity if it is too large for an exact number, and therefore behind the end of any disk. */
  readonly offset: number;
  readonly length: number;
}

/** @throws NbdProtocolError */
export function parseRequest(header: Buffer): NbdRequest {
  const magic = header.readUInt32BE(0);
  if (magic !== REQUEST_MAGIC) throw new NbdProtocolError(`request magic ${magic.toString(16)}`);
  const offset = header.readBigUInt64BE(16);
  return {
    flags: header.readUInt16BE(4),
    command: header.readUInt16BE(6),
    cookie: header.readBigUInt64BE(8),
    offset: offset > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(offset),
    length: header.readUInt32BE(24),
  };
}

export function writeRequest(request: NbdRequest): Buffer {
  const header = Buffer.allocUnsafe(REQUEST_BYTES);
  header.writeUInt32BE(REQUEST_MAGIC, 0);
  header.writeUInt16BE(request.flags, 4);
  header.writeUInt16BE(request.command, 6);
  header.writeBigUInt64BE(request.cookie, 8);
  header.writeBigUInt64BE(BigInt(request.offset), 16);
  header.writeUInt32BE(request.length, 24);
  return header;
}

/** Writes a simple reply's header to the start of `target`. @param error 0 for success. */
export function writeReply(target: Buffer, cookie: bigint, error: number): void {
  target.writeUInt32BE(REPLY_MAGIC, 0);
  target.writeUInt32BE(error, 4);
  target.writeBigUInt64BE(cookie, 8);
}

/** @throws NbdProtocolError */
export function parseReply(header: Buffer): { error: number; cookie: bigint } {
  const magic = header.readUInt32BE(0);
  if (magic !== REPLY_MAGIC) throw new NbdProtocolError(`reply magic ${magic.toString(16)}`);
  return { error: header.readUInt32BE(4), cookie: header.readBigUInt64BE(8) };
}

export function optionRequest(option: number, data: Buffer): Buffer {
  const header = Buffer.allocUnsafe(16);
  header.writeBigUInt64BE(OPTION_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

export function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.allocUnsafe(20);
  header.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(data.length, 16);
  return Buffer.concat([header, data]);
}

/** The address of a server: a unix socket, or a port of a host. */
export type NbdAddress = { readonly socketPath: string } | { readonly port: number; readonly host: string };

/** The address in the form that qemu, nbdcopy and others accept. */
export function nbdUri(address: NbdAddress, exportName: string): string {
  const name = encodeURIComponent(exportName);
  if ('socketPath' in address) {
    return `nbd+unix:///${name}?socket=${encodeURIComponent(address.socketPath).replaceAll('%2F', '/')}`;
  }
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `nbd://${host}:${address.port}/${name}`;
}

/** @throws TypeError if it is not an NBD URI. */
export function parseNbdUri(uri: string): { address: NbdAddress; exportName: string } {
  const url = new URL(uri);
  const exportName = decodeURIComponent(url.pathname.replace(/^\//, ''));
  if (url.protocol === 'nbd+unix:') {
    const socketPath = url.searchParams.get('socket');
    if (!socketPath) throw new TypeError(`${uri}: no socket is named`);
    return { address: { socketPath }, exportName };
  }
  if (url.protocol !== 'nbd:') throw new TypeError(`${uri}: not an NBD URI`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { address: { host, port: url.port === '' ? 10809 : Number(url.port) }, exportName };
}
