/** Writes a change file as a stream: bounded memory but for its rows, 20 bytes each. */
import { crc32 } from 'node:zlib';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { CatalogueError } from '../domain/errors.js';
import type { ChangeRange, DiskChanges } from '../ports/hypervisor.js';
import {
  changeFileLength,
  encodeHeader,
  encodeRow,
  MAX_ROW_DATA,
  ROW_BYTES,
  type ChangeFileHeader,
  type ChangeFileIdentity,
} from './change-file.js';
import type { PlannedPart } from './change-parts.js';
import { readAhead } from '../concurrency/in-parallel.js';

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
  readonly #ranges: Iterable<ChangeRange>;
  readonly #read: DiskChanges['read'];
  readonly #hasher = new Blake3Hasher();
  readonly #readsAhead: number;

  /** @param ranges those that were planned for this part, and no others; gone through once. */
  constructor(
    identity: ChangeFileIdentity,
    { rows, payload, longest }: PlannedPart,
    ranges: Iterable<ChangeRange>,
    read: DiskChanges['read'],
  ) {
    this.header = { ...identity, rows, payload };
    this.#ranges = ranges;
    this.#read = read;
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
      data: range.zero ? undefined : await this.#read(range),
    });
    for await (const { range, data } of readAhead(this.#ranges, this.#readsAhead, read)) {
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
