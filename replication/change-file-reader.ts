/** Reads a change file from the store in pieces: first to verify it, then its rows and content. */
import { crc32 } from 'node:zlib';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { CatalogueError } from '../domain/errors.js';
import { end, splitRange, type Range } from '../domain/ranges.js';
import type { Objects, ReadBackOptions } from '../ports/objects.js';
import type { DiskWrite } from '../ports/replica-disks.js';
import {
  changeFileLength,
  checkChange,
  decodeFooter,
  decodeRow,
  FOOTER_BYTES,
  MAX_ROW_DATA,
  ROW_BYTES,
  type ChangeFileFooter,
  type ChangeFileIdentity,
  type ChangeRow,
} from './change-file.js';
import { BufferPool } from '../disks/buffer-pool.js';
import { readAhead } from '../concurrency/in-parallel.js';

const READ_SIZE = 4 * 1024 * 1024;
const READS_AHEAD = 3;
const ROWS_AT_ONCE = 16 * 1024;
/** Most rows in a batch; a batch is one durable write. */
const BATCH_ROWS = 4096;
/** Most content in a batch, bytes. */
export const BATCH_BYTES = MAX_ROW_DATA;

type ObjectReader = Pick<Objects, 'read' | 'readInto'>;

/** @returns blake3 of the first `length` bytes, hex; undefined if there is no such object or it is shorter. */
export async function digestOfObject(
  objects: ObjectReader,
  name: string,
  length: number,
  onBytes: (bytes: number) => void = () => undefined,
  options: ReadBackOptions = {},
): Promise<string | undefined> {
  const hasher = new Blake3Hasher();
  try {
    const buffers = new BufferPool(READ_SIZE);
    const read = async (part: Range) => {
      const buffer = buffers.take();
      await objects.readInto(name, part.offset, buffer.subarray(0, part.length), options);
      return { buffer, length: part.length };
    };
    const parts = splitRange({ offset: 0, length }, READ_SIZE);
    for await (const { buffer, length: bytes } of readAhead(parts, READS_AHEAD, read)) {
      hasher.update(buffer.subarray(0, bytes));
      buffers.give(buffer);
      onBytes(bytes);
    }
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  }
  return hasher.digest('hex');
}

/** Rows that are written to a replica's disk in one durable write; `bytes` of disk. */
export interface ChangeBatch {
  readonly rows: readonly ChangeRow[];
  /** Position and length of the rows' content in the file. */
  readonly content: Range;
}

export class ChangeFileReader {
  readonly #objects: ObjectReader;
  readonly #name: string;
  readonly #footer: ChangeFileFooter;
  #covers: Range = { offset: 0, length: 0 };

  private constructor(objects: ObjectReader, name: string, footer: ChangeFileFooter) {
    this.#objects = objects;
    this.#name = name;
    this.#footer = footer;
  }

  /** The range from its first row to the end of its last. */
  get covers(): Range {
    return this.#covers;
  }

  /**
   * Checks footer and rows against the file's expected identity; after that, every row is known to be within the disk.
   * @param length of the whole file, bytes.
   * @throws CatalogueError LogBroken
   */
  static async open(
    objects: ObjectReader,
    name: string,
    expected: ChangeFileIdentity,
    length: number,
  ): Promise<ChangeFileReader> {
    const broken = (problem: string) => new CatalogueError('LogBroken', `${name}: ${problem}`);
    if (length < FOOTER_BYTES) throw broken(`it is too short, ${length} bytes`);
    const footer = decodeFooter(await objects.read(name, length - FOOTER_BYTES, FOOTER_BYTES));
    for (const key of ['vm', 'disk', 'epoch', 'sequence', 'diskSize'] as const) {
      if (footer[key] !== expected[key]) throw broken(`it is of ${key} ${footer[key]}, not ${expected[key]}`);
    }
    if (changeFileLength(footer) !== length)
      throw broken(`${length} bytes, but its footer records ${changeFileLength(footer)}`);
    const reader = new ChangeFileReader(objects, name, footer);
    let begin: number | undefined;
    let previousEnd = 0;
    let payload = 0;
    for await (const rows of reader.#rows()) {
      for (const row of rows) {
        checkChange(row, previousEnd, footer.diskSize);
        previousEnd = end(row);
        begin ??= row.offset;
        if (row.zero) continue;
        payload += row.length;
        if (row.length > MAX_ROW_DATA) throw broken(`a row of ${row.length} bytes`);
      }
    }
    if (payload !== footer.payload) throw broken(`its rows have ${payload} bytes of content, not ${footer.payload}`);
    reader.#covers = { offset: begin ?? 0, length: previousEnd - (begin ?? 0) };
    return reader;
  }

  async *batches(): AsyncGenerator<ChangeBatch, void, undefined> {
    let position = 0;
    let rows: ChangeRow[] = [];
    let bytes = 0;
    const take = (): ChangeBatch => {
      const batch = { rows, content: { offset: position, length: bytes } };
      position += bytes;
      rows = [];
      bytes = 0;
      return batch;
    };
    for await (const some of this.#rows()) {
      for (const row of some) {
        const content = row.zero ? 0 : row.length;
        if (rows.length === BATCH_ROWS || bytes + content > BATCH_BYTES) yield take();
        rows.push(row);
        bytes += content;
      }
    }
    if (rows.length > 0) yield take();
  }

  /**
   * @param buffer of `BATCH_BYTES`, which holds the content of the writes.
   * @throws CatalogueError LogBroken if the content does not match the rows.
   */
  async load({ rows, content }: ChangeBatch, buffer: Buffer): Promise<DiskWrite[]> {
    const data = buffer.subarray(0, content.length);
    if (content.length > 0) await this.#objects.readInto(this.#name, content.offset, data);
    let at = 0;
    return rows.map((row): DiskWrite => {
      if (row.zero) return { offset: row.offset, clear: row.length };
      const part = data.subarray(at, (at += row.length));
      if (crc32(part) !== row.crc) {
        throw new CatalogueError(
          'LogBroken',
          `${this.#name}: damaged content for ${row.length} bytes at ${row.offset}`,
        );
      }
      return { offset: row.offset, data: part };
    });
  }

  /** In batches, decoded during iteration: a million rows together would occupy memory until it is collected. */
  async *#rows(): AsyncGenerator<Iterable<ChangeRow>, void, undefined> {
    const table = { offset: 0, length: this.#footer.rows * ROW_BYTES };
    const read = (part: Range) => this.#objects.read(this.#name, this.#footer.payload + part.offset, part.length);
    for await (const data of readAhead(splitRange(table, ROWS_AT_ONCE * ROW_BYTES), 2, read)) yield decodeRows(data);
  }
}

function* decodeRows(table: Buffer): Generator<ChangeRow, void, undefined> {
  for (let at = 0; at < table.length; at += ROW_BYTES) yield decodeRow(table, at);
}
