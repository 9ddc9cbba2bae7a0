/** Writes a change file as a stream, with bounded memory except for its rows, 20 bytes each. */
import { crc32 } from 'node:zlib';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { isZero } from '../disks/zeroes.js';
import { CatalogueError } from '../domain/errors.js';
import type { DiskChanges } from '../ports/change-source.js';
import { changeFileLength, encodeFooter, encodeRow, ROW_BYTES, type ChangeFileIdentity } from './change-file.js';
import type { PlannedPart } from './change-parts.js';
import type { ChangePiece } from './change-pieces.js';
import { readAhead } from '../concurrency/in-parallel.js';

/** Small pieces are joined into chunks of this size, bytes. */
const CHUNK_SIZE = 1024 * 1024;
const READS_AHEAD = 8;
/** Limit of the content read ahead, bytes. */
const READ_AHEAD_BYTES = 16 * 1024 * 1024;

export interface WrittenFile {
  /** Bytes. */
  readonly length: number;
  /** blake3, hex. */
  readonly digest: string;
  /** Bytes of content. */
  readonly dataBytes: number;
  readonly ranges: number;
}

/**
 * The same change set always gives the same file, byte for byte: if an upload is repeated, even by a process that was
 * thought dead, the file is replaced by an identical one. (A file of a lost cut that is cut again may differ; its
 * digest tells.)
 */
export class ChangeFileWriter {
  readonly #identity: ChangeFileIdentity;
  readonly #rows: Buffer;
  readonly #pieces: AsyncIterable<ChangePiece>;
  readonly #read: DiskChanges['read'];
  readonly #hasher = new Blake3Hasher();
  readonly #readsAhead: number;
  #payload = 0;

  /** @param pieces exactly those that were planned for this part; iterated once. */
  constructor(
    identity: ChangeFileIdentity,
    { rows, longest }: PlannedPart,
    pieces: AsyncIterable<ChangePiece>,
    read: DiskChanges['read'],
  ) {
    this.#identity = identity;
    this.#rows = Buffer.alloc(rows * ROW_BYTES);
    this.#pieces = pieces;
    this.#read = read;
    this.#readsAhead = Math.min(READS_AHEAD, Math.max(1, Math.floor(READ_AHEAD_BYTES / longest)));
  }

  /** Known once the last chunk has been taken. */
  written(): WrittenFile {
    const footer = this.#footer;
    return {
      length: changeFileLength(footer),
      digest: this.#hasher.digest('hex'),
      dataBytes: footer.payload,
      ranges: footer.rows,
    };
  }

  /** Can be iterated once. @throws CatalogueError LogBroken, and the errors of reading a change set. */
  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of gather(this.#parts())) {
      this.#hasher.update(chunk);
      yield chunk;
    }
  }

  get #footer() {
    return { ...this.#identity, rows: this.#rows.length / ROW_BYTES, payload: this.#payload };
  }

  async *#parts(): AsyncGenerator<Buffer, void, undefined> {
    const rows = this.#rows;
    let at = 0;
    const read = async ({ range, part }: ChangePiece) => ({
      part,
      data: range.zero ? undefined : await this.#read(range, part),
    });
    for await (const { part, data } of readAhead(this.#pieces, this.#readsAhead, read)) {
      const { offset, length } = part;
      if (data && data.length !== length) {
        throw new CatalogueError('LogBroken', `${data.length} bytes where ${length} at ${offset} changed`);
      }
      // Not every source distinguishes zeroes from data. Looking for zeroes in data that is read anyway costs almost
      // nothing. Nothing is read just to find them, and they are not looked for within a piece.
      const content = data && !isZero(data) ? data : undefined;
      if (at === rows.length) throw changedSince(offset);
      encodeRow(rows, at, { offset, length, zero: !content, crc: content ? crc32(content) : 0 });
      at += ROW_BYTES;
      if (!content) continue;
      this.#payload += length;
      yield content;
    }
    if (at < rows.length) throw changedSince(this.#identity.diskSize);
    for (let from = 0; from < rows.length; from += CHUNK_SIZE) yield rows.subarray(from, from + CHUNK_SIZE);
    yield encodeFooter(this.#footer);
  }
}

const changedSince = (offset: number): CatalogueError =>
  new CatalogueError('LogBroken', `read again, a change set has different ranges than before, up to ${offset}`);

async function* gather(parts: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let gathered: Buffer[] = [];
  let bytes = 0;
  for await (const part of parts) {
    gathered.push(part);
    bytes += part.length;
    if (bytes < CHUNK_SIZE) continue;
    yield gathered.length === 1 ? part : Buffer.concat(gathered, bytes);
    gathered = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(gathered, bytes);
}
