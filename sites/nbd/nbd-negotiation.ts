/** The first part of an NBD connection: the client lists the exports and chooses one. */
import type { Socket } from 'node:net';
import type { NbdExport } from './nbd-export.js';
import {
  HandshakeFlag,
  Info,
  MAX_PAYLOAD,
  NBD_MAGIC,
  NbdProtocolError,
  OPTION_MAGIC,
  Option,
  OptionReply,
  TransmissionFlag,
  optionReply,
} from './nbd-protocol.js';
import type { SocketReader } from './nbd-stream.js';

/** Offsets and lengths of requests are multiples of this, bytes: change logs contain only whole sectors. */
export const MIN_BLOCK = 512;
const PREFERRED_BLOCK = 4096;
const MAX_OPTION_BYTES = 64 * 1024;
/** Limit of answers to options that the client has not read, bytes. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/** The exports from which a client may choose. */
export interface ExportList<E extends { readonly disk: NbdExport }> {
  find(name: string): E | undefined;
  names(): string[];
}

/**
 * @param enter is called when an export is chosen, before the client is told.
 * @returns the export; undefined if the client disconnects.
 * @throws NbdProtocolError, and the reader's errors.
 */
export async function negotiate<E extends { readonly disk: NbdExport }>(
  socket: Socket,
  reader: SocketReader,
  exports: ExportList<E>,
  enter: (found: E) => void,
): Promise<E | undefined> {
  const greeting = Buffer.allocUnsafe(18);
  greeting.writeBigUInt64BE(NBD_MAGIC, 0);
  greeting.writeBigUInt64BE(OPTION_MAGIC, 8);
  greeting.writeUInt16BE(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES, 16);
  socket.write(greeting);
  const clientFlags = (await reader.take(4)).readUInt32BE(0);
  if (clientFlags & ~(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES)) {
    throw new NbdProtocolError(`unknown client flags ${clientFlags.toString(16)}`);
  }
  for (;;) {
    const header = await reader.take(16);
    if (header.readBigUInt64BE(0) !== OPTION_MAGIC) throw new NbdProtocolError('option magic');
    const option = header.readUInt32BE(8);
    const length = header.readUInt32BE(12);
    if (length > MAX_OPTION_BYTES) throw new NbdProtocolError(`an option of ${length} bytes`);
    if (socket.writableLength > MAX_UNREAD_BYTES) throw new NbdProtocolError('options without end, answers never read');
    const data = await reader.take(length);
    switch (option) {
      case Option.EXPORT_NAME: {
        const found = exports.find(data.toString('utf8'));
        if (!found) throw new NbdProtocolError('this option knows no other answer to an unknown name');
        enter(found);
        const answer = Buffer.alloc(clientFlags & HandshakeFlag.NO_ZEROES ? 10 : 134);
        answer.writeBigUInt64BE(BigInt(found.disk.size), 0);
        answer.writeUInt16BE(transmissionFlags(found.disk), 8);
        socket.write(answer);
        return found;
      }
      case Option.GO:
      case Option.INFO: {
        const found = findAsked(data, exports);
        if (found && option === Option.GO) enter(found);
        socket.write(answerInfo(option, found));
        if (found && option === Option.GO) return found;
        break;
      }
      case Option.LIST:
        socket.write(answerList(data, exports.names()));
        break;
      case Option.ABORT:
        socket.write(optionReply(option, OptionReply.ACK));
        return undefined;
      default:
        socket.write(optionReply(option, OptionReply.ERR_UNSUP));
    }
  }
}

/** @returns undefined if there is no such export, null if the request is malformed. */
function findAsked<E extends { readonly disk: NbdExport }>(data: Buffer, exports: ExportList<E>): E | undefined | null {
  const nameLength = data.length < 6 ? Infinity : data.readUInt32BE(0);
  if (nameLength > data.length - 6 || data.length !== 6 + nameLength + 2 * data.readUInt16BE(4 + nameLength))
    return null;
  return exports.find(data.toString('utf8', 4, 4 + nameLength));
}

function answerInfo(option: number, found: { readonly disk: NbdExport } | undefined | null): Buffer {
  if (found === null) return optionReply(option, OptionReply.ERR_INVALID);
  if (!found) return optionReply(option, OptionReply.ERR_UNKNOWN);
  const info = Buffer.allocUnsafe(12);
  info.writeUInt16BE(Info.EXPORT, 0);
  info.writeBigUInt64BE(BigInt(found.disk.size), 2);
  info.writeUInt16BE(transmissionFlags(found.disk), 10);
  const blocks = Buffer.allocUnsafe(14);
  blocks.writeUInt16BE(Info.BLOCK_SIZE, 0);
  blocks.writeUInt32BE(MIN_BLOCK, 2);
  blocks.writeUInt32BE(PREFERRED_BLOCK, 6);
  blocks.writeUInt32BE(MAX_PAYLOAD, 10);
  return Buffer.concat([
    optionReply(option, OptionReply.INFO, info),
    optionReply(option, OptionReply.INFO, blocks),
    optionReply(option, OptionReply.ACK),
  ]);
}

function answerList(data: Buffer, names: readonly string[]): Buffer {
  if (data.length > 0) return optionReply(Option.LIST, OptionReply.ERR_INVALID);
  const entries = names.map((name) => {
    const entry = Buffer.alloc(4 + Buffer.byteLength(name));
    entry.writeUInt32BE(entry.length - 4, 0);
    entry.write(name, 4);
    return optionReply(Option.LIST, OptionReply.SERVER, entry);
  });
  return Buffer.concat([...entries, optionReply(Option.LIST, OptionReply.ACK)]);
}

function transmissionFlags(disk: NbdExport): number {
  const { HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN } = TransmissionFlag;
  const common = HAS_FLAGS | SEND_FLUSH | CAN_MULTI_CONN;
  return disk.readOnly ? common | READ_ONLY : common | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES;
}
