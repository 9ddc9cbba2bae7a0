/**
 * The container of a store: the operations of the service that the store needs, each with a time limit, retries and a
 * check in transit, and with errors of the catalogue.
 */
import { createHash } from 'node:crypto';
import { RestError, type BlobClient, type BlockBlobClient, type PageBlobClient } from '@azure/storage-blob';
import { CatalogueError } from '../../domain/errors.js';
import { clipRanges, mergeRanges, type Range } from '../../domain/ranges.js';
import { readAhead } from '../../concurrency/in-parallel.js';
import type { WriteOptions } from '../../ports/replica-disks.js';
import type { ContainerAccess } from './container-access.js';
import type { PageRequest } from './page-requests.js';
import type { Requests } from './requests.js';
import { serviceCode } from './store-errors.js';
import { blocksOf } from './upload-blocks.js';

/** Size of one reading request, bytes. */
const READ_BLOCK = 4 * 1024 * 1024;
const READS_IN_FLIGHT = 4;
const BLOCKS_IN_FLIGHT = 4;
/** The service's limit of blocks in one blob. */
const MOST_BLOCKS = 50_000;

export interface Content {
  readonly data: Buffer;
  readonly etag: string;
}

const md5 = (data: Buffer): Buffer => createHash('md5').update(data).digest();

/** The outcome of writing a blob. */
export interface Put {
  readonly etag?: string;
  /** An earlier try got no answer: it may have written the blob, and another writer may have replaced it since. */
  readonly mayBeMade?: boolean;
}

export class Container {
  constructor(
    private readonly access: ContainerAccess,
    readonly requests: Requests,
  ) {}

  /**
   * @param known etag of the version that the caller has.
   * @param length bytes, if it is known to be long.
   * @returns `unchanged` if the blob still has that etag; undefined if there is no such blob.
   */
  async get(
    blob: string,
    { known, length }: { known?: string | undefined; length?: number } = {},
  ): Promise<Content | 'unchanged' | undefined> {
    try {
      return await this.requests.send(async (abortSignal) => {
        const conditions = known === undefined ? {} : { conditions: { ifNoneMatch: known } };
        const answer = await this.#blob(blob).download(0, undefined, { abortSignal, ...conditions });
        const data = await collected(answer.readableStreamBody!, answer.contentLength ?? 0);
        return { data, etag: answer.etag! };
      }, length);
    } catch (error) {
      if (statusOf(error) === 304) return 'unchanged';
      if (isMissing(error)) return undefined;
      throw this.requests.failed(`reading ${blob}`, error);
    }
  }

  /**
   * Writes a whole blob.
   * @param replaces etag of the version to replace; `nothing` if there must be none; undefined to replace any version.
   * @returns its etag; no etag if there is another version.
   */
  async put(blob: string, data: Buffer, replaces?: { etag: string } | 'nothing'): Promise<Put> {
    const conditions =
      replaces === undefined ? {} : replaces === 'nothing' ? { ifNoneMatch: '*' } : { ifMatch: replaces.etag };
    let tries = 0;
    try {
      const answer = await this.requests.send((abortSignal) => {
        tries += 1;
        return this.#block(blob).upload(data, data.length, {
          ...{ abortSignal, conditions },
          blobHTTPHeaders: { blobContentMD5: md5(data), ...(blob.endsWith('.json') && JSON_TYPE) },
        });
      }, data.length);
      return { etag: answer.etag! };
    } catch (error) {
      if (replaces !== undefined && [409, 412].includes(statusOf(error) ?? 0) && isOvertaken(error))
        return { mayBeMade: tries > 1 };
      throw this.requests.failed(`writing ${blob}`, error);
    }
  }

  /** Writes a blob of any length, which appears only when it is complete. @returns its length, bytes. */
  async upload(blob: string, chunks: AsyncIterable<Buffer>): Promise<number> {
    const ids: string[] = [];
    let length = 0;
    const numbered = async function* () {
      for await (const data of blocksOf(chunks)) {
        if (ids.length === MOST_BLOCKS) {
          throw new CatalogueError('InvalidReplicaState', `${blob}: more than ${length} bytes do not fit one blob`);
        }
        const id = Buffer.from(String(ids.length).padStart(8, '0')).toString('base64');
        ids.push(id);
        length += data.length;
        yield { id, data };
      }
    };
    const stage = ({ id, data }: { id: string; data: Buffer }) =>
      this.requests.do(
        `writing ${blob}`,
        (abortSignal) =>
          this.#block(blob).stageBlock(id, data, data.length, { abortSignal, transactionalContentMD5: md5(data) }),
        data.length,
      );
    for await (const staged of readAhead(numbered(), BLOCKS_IN_FLIGHT, stage)) void staged;
    await this.requests.do(`writing ${blob}`, (abortSignal) => this.#block(blob).commitBlockList(ids, { abortSignal }));
    return length;
  }

  /**
   * @returns false if there is no such blob or snapshot. @throws CatalogueError InvalidReplicaState if it is too short.
   */
  async read(blob: string, offset: number, target: Buffer, snapshot?: string): Promise<boolean> {
    if (target.length === 0) return true;
    try {
      await this.requests.send(
        (abortSignal) =>
          this.#blob(blob, snapshot).downloadToBuffer(target, offset, target.length, {
            ...{ abortSignal, blockSize: READ_BLOCK, concurrency: READS_IN_FLIGHT },
          }),
        target.length,
      );
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw this.requests.failed(`reading ${blob}`, error);
    }
  }

  /** Deletes a blob with its snapshots, or only one of them. Does nothing if it is already gone. */
  async delete(blob: string, snapshot?: string): Promise<void> {
    const options = snapshot === undefined ? { deleteSnapshots: 'include' as const } : {};
    try {
      await this.requests.send((abortSignal) => this.#blob(blob, snapshot).delete({ abortSignal, ...options }));
    } catch (error) {
      if (!isMissing(error)) throw this.requests.failed(`deleting ${blob}`, error);
    }
  }

  /** @param include snapshots, each as a separate entry. */
  async *list(prefix: string, include: { snapshots: boolean }): AsyncGenerator<ListedBlob, void, undefined> {
    const open = (place: PlaceInList, abortSignal: AbortSignal) =>
      this.access.client.listBlobsFlat({ abortSignal, prefix, includeSnapshots: include.snapshots }).byPage(place);
    for await (const page of this.#pagesOf(`listing ${prefix}`, open)) {
      // Without the service's time, no blob counts as old.
      const now = page.date?.getTime() ?? 0;
      for (const { name, snapshot, properties } of page.segment.blobItems) {
        const ageMs = now - (snapshot ? new Date(snapshot) : properties.lastModified).getTime();
        yield snapshot ? { name, snapshot, ageMs } : { name, ageMs };
      }
    }
  }

  async createPages(blob: string, size: number, sequenceNumber: number): Promise<void> {
    await this.requests.do(`creating ${blob}`, (abortSignal) =>
      this.#pages(blob).create(size, { abortSignal, blobSequenceNumber: sequenceNumber }),
    );
  }

  async resizePages(blob: string, size: number): Promise<void> {
    await this.requests.do(`resizing ${blob}`, (abortSignal) => this.#pages(blob).resize(size, { abortSignal }));
  }

  /**
   * Writes or clears pages unless the blob has a higher sequence number; the service checks that in the same step.
   * @returns `stale` if it has; `missing` if there is no such blob.
   */
  async writePages(
    blob: string,
    request: PageRequest,
    sequenceNumber: number,
    { isReadBack = false }: WriteOptions = {},
  ): Promise<'written' | 'stale' | 'missing'> {
    const { offset, length, data } = request;
    const conditions = { ifSequenceNumberLessThanOrEqualTo: sequenceNumber };
    const checksum = data && !isReadBack && { transactionalContentMD5: md5(data) };
    try {
      await this.requests.send(
        (abortSignal) =>
          data
            ? this.#pages(blob).uploadPages(data, offset, length, { abortSignal, conditions, ...checksum })
            : this.#pages(blob).clearPages(offset, length, { abortSignal, conditions }),
        data?.length,
      );
      return 'written';
    } catch (error) {
      if (serviceCode(error) === 'SequenceNumberConditionNotMet') return 'stale';
      if (isMissing(error)) return 'missing';
      throw this.requests.failed(`writing ${blob}`, error);
    }
  }

  /** Raises the number, never lowers it. A missing blob has no writers, so it needs no raising. */
  async raiseSequenceNumber(blob: string, sequenceNumber: number): Promise<void> {
    try {
      await this.requests.send((abortSignal) =>
        this.#pages(blob).updateSequenceNumber('max', sequenceNumber, { abortSignal }),
      );
    } catch (error) {
      if (!isMissing(error)) throw this.requests.failed(`fencing ${blob}`, error);
    }
  }

  /** @returns the service's identifier of the snapshot; undefined if there is no such blob. */
  async snapshot(blob: string): Promise<string | undefined> {
    try {
      const answer = await this.requests.send((abortSignal) => this.#blob(blob).createSnapshot({ abortSignal }));
      return answer.snapshot!;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw this.requests.failed(`taking a snapshot of ${blob}`, error);
    }
  }

  /**
   * Pages that were written and not cleared, sorted, adjacent ones joined. @returns undefined if there is no such blob.
   */
  async pageRanges(blob: string, { offset, length }: Range, snapshot?: string): Promise<Range[] | undefined> {
    const pages = () => (snapshot === undefined ? this.#pages(blob) : this.#pages(blob).withSnapshot(snapshot));
    // Not `getPageRanges`, which returns counts that are one byte too small.
    const open = (place: PlaceInList, abortSignal: AbortSignal) =>
      pages().listPageRanges(offset, length, { abortSignal }).byPage(place);
    const found: Range[] = [];
    try {
      for await (const { pageRange = [] } of this.#pagesOf(`reading ${blob}`, open)) {
        for (const { start, end } of pageRange) found.push({ offset: start, length: end - start + 1 });
      }
      // The service may return ranges that extend beyond the requested one.
      return clipRanges(mergeRanges(found), { offset, length });
    } catch (error) {
      if (error instanceof CatalogueError && isMissing(error.cause)) return undefined;
      throw error;
    }
  }

  /**
   * The pages of a list, each requested separately: if the client's iterator has failed once, its next request returns
   * the end of the list.
   */
  async *#pagesOf<P extends { continuationToken?: string }>(
    doing: string,
    open: (place: PlaceInList, signal: AbortSignal) => AsyncIterableIterator<P>,
  ): AsyncGenerator<P, void, undefined> {
    let token: string | undefined;
    do {
      const page = await this.requests.do(doing, (signal) =>
        open(token === undefined ? {} : { continuationToken: token }, signal).next(),
      );
      if (page.done) return;
      yield page.value;
      token = page.value.continuationToken;
    } while (token !== undefined && token !== '');
  }

  #blob(name: string, snapshot?: string): BlobClient {
    const client = this.access.client.getBlobClient(name);
    return snapshot === undefined ? client : client.withSnapshot(snapshot);
  }

  #block = (name: string): BlockBlobClient => this.access.client.getBlockBlobClient(name);
  #pages = (name: string): PageBlobClient => this.access.client.getPageBlobClient(name);
}

interface PlaceInList {
  readonly continuationToken?: string;
}

export interface ListedBlob {
  readonly name: string;
  readonly snapshot?: string;
  /** Age since its last write, by the service's clock alone, because a worker's may be wrong. */
  readonly ageMs: number;
}

const JSON_TYPE = { blobContentType: 'application/json' };

const statusOf = (error: unknown): number | undefined => (error instanceof RestError ? error.statusCode : undefined);

/** The blob is missing; a missing container is a different fault. */
const isMissing = (error: unknown): boolean =>
  statusOf(error) === 404 && !['ContainerNotFound', 'ResourceNotFound'].includes(serviceCode(error) ?? '');

const isOvertaken = (error: unknown): boolean =>
  ['ConditionNotMet', 'BlobAlreadyExists'].includes(serviceCode(error) ?? '');

async function collected(stream: NodeJS.ReadableStream, length: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  const data = Buffer.concat(parts);
  if (data.length !== length) {
    throw Object.assign(new Error(`${data.length} of ${length} bytes arrived`), { code: 'ECONNRESET' });
  }
  return data;
}
