/** Writes a change file as a stream: bounded memory but for its rows, 20 bytes each. */
import { crc32 } from 'node:zlib';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { CatalogueError } from '../domain/errors.js';
import { end } from '../domain/ranges.js';
import type { ChangeRange, DiskChanges } from '../sites/ports.js';
import {
  changeFileLength,
  checkChange,
  encodeHeader,
  encodeRow,
  MAX_ROW_DATA,
  ROW_BYTES,
  type ChangeFileHeader,
  type ChangeFileIdentity,
} from './change-file.js';
import { readAhead } from './read-ahead.js';

/** Bytes: small ranges are gathered to chunks of this size. */
const CHUNK_SIZE = 1024 * 1024;
const READS_AHEAD = 8;
/** Bytes of content read ahead, in sum. */
const READ_AHEAD_BYTES = 16 * 1024 * 1024;

/**
 * The same change set gives the same file, byte for byte: an upload that is repeated, even one by a process that was
 * thought dead, replaces a file by itself.
 */
export class ChangeFileWriter {
  readonly header: ChangeFileHeader;
  readonly #changes: DiskChanges;
  readonly #hasher = new Blake3Hasher();
  readonly #readsAhead: number;

  /** @throws CatalogueError LogBroken when the ranges are not what a change set's have to be. */
  constructor(identity: ChangeFileIdentity, changes: DiskChanges) {
    let previousEnd = 0;
    let rows = 0;
    let payload = 0;
    let longest = 1;
    for (const range of changes.ranges) {
      checkChange(range, previousEnd, identity.diskSize);
      previousEnd = end(range);
      rows += range.zero ? 1 : Math.ceil(range.length / MAX_ROW_DATA);
      if (!range.zero) {
        payload += range.length;
        longest = Math.max(longest, range.length);
      }
    }
    this.header = { ...identity, rows, payload };
    this.#changes = changes;
    this.#readsAhead = Math.min(READS_AHEAD, Math.max(1, Math.floor(READ_AHEAD_BYTES / longest)));
  }

  /** Bytes. */
  get length(): number {
    return changeFileLength(this.header);
  }

  /** Hex, of all chunks; known once the last has been taken. */
  digest(): string {
    return this.#hasher.digest('hex');
  }

  /** Can be gone through once. @throws CatalogueError LogBroken, and what reading a change set throws. */
  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of gather(this.#parts())) {
      this.#hasher.update(chunk);
      yield chunk;
    }
  }

  async *#parts(): AsyncGenerator<Buffer, void, undefined> {
    yield encodeHeader(this.header);
    const rows = Buffer.alloc(this.header.rows * ROW_BYTES);
    let at = 0;
    const read = async (range: ChangeRange) => ({
      range,
      data: range.zero ? undefined : await this.#changes.read(range),
    });
    for await (const { range, data } of readAhead(this.#changes.ranges, this.#readsAhead, read)) {
      if (data && data.length !== range.length) {
        throw new CatalogueError('LogBroken', `${data.length} bytes where ${range.length} at ${range.offset} changed`);
      }
      const step = data ? MAX_ROW_DATA : range.length;
      for (let done = 0; done < range.length; done += step) {
        const length = Math.min(step, range.length - done);
        const part = data?.subarray(done, done + length);
        encodeRow(rows, at, { offset: range.offset + done, length, zero: !part, crc: part ? crc32(part) : 0 });
        at += ROW_BYTES;
        if (part) yield part;
      }
    }
    for (let from = 0; from < rows.length; from += CHUNK_SIZE) yield rows.subarray(from, from + CHUNK_SIZE);
  }
}

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
