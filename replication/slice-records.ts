/**
 * The records of a disk's slices, which are digests (digest.ts), below one prefix: `<n>.digests` for each slice. When the
 * records of 64 consecutive slices exist, one `<first>-<last>.pack` replaces them. A disk of 1 TiB has 16,384 slices; a
 * store that lists its objects in one catalog would write an ever longer list for each slice.
 *
 *   0   8    `FARPACK1`
 *   8   4    number of the first slice, u32; the length of each record, bytes, u32 each; then the records
 *
 * A pack never changes. If a slice has both, the pack counts: the single record was written late.
 */
import type { Objects, WriteFence } from '../ports/objects.js';
import { inParallel } from '../concurrency/in-parallel.js';

/** Number of slices in a pack. */
const PACKED = 64;
const MAGIC = 'FARPACK1';
const IN_FLIGHT = 8;
/** Number of packs held in memory, at most 2 MiB each: slices are requested in order, several at a time. */
const PACKS_KEPT = 2;

const digits = (slice: number): string => String(slice).padStart(8, '0');

export class SliceRecords {
  /** Slices whose record is a separate object. */
  readonly #single = new Set<number>();
  /** First slices of the packs. */
  readonly #packs = new Set<number>();
  /** Records by slice that this process has put, and that may go into a pack. */
  readonly #contents = new Map<number, Buffer>();
  /** Records that are not durable yet. */
  readonly #pending = new Set<number>();
  readonly #packing = new Map<number, Promise<void>>();
  readonly #readPacks = new Map<number, Promise<ReadonlyMap<number, Buffer>>>();

  private constructor(
    private readonly objects: Objects,
    private readonly prefix: string,
  ) {}

  static async open(objects: Objects, prefix: string): Promise<SliceRecords> {
    const records = new SliceRecords(objects, prefix);
    for (const name of await objects.list(prefix)) {
      const [, first, last, ending] = /^(\d{8})(?:-(\d{8}))?\.(digests|pack)$/.exec(name.slice(prefix.length)) ?? [];
      if (ending === 'digests' && last === undefined) records.#single.add(Number(first));
      if (ending === 'pack' && last !== undefined) records.#packs.add(Number(first));
    }
    return records;
  }

  has = (slice: number): boolean => this.#single.has(slice) || this.#packs.has(packOf(slice));

  /** The first slice whose record is not durable; Infinity if all are. */
  get pendingFrom(): number {
    return Math.min(Infinity, ...this.#pending);
  }

  /**
   * Finds the record even if it has been packed since this was opened. @returns undefined if there is no readable
   * record.
   */
  async get(slice: number): Promise<Buffer | undefined> {
    const first = packOf(slice);
    if (this.#packs.has(first) || !this.#single.has(slice)) {
      const packed = (await this.#pack(first)).get(slice);
      if (packed) return packed;
      if (this.#packs.has(first)) return undefined;
    }
    // It has been packed meanwhile, or never existed.
    return (await this.objects.get(this.#nameOf(slice))) ?? (await this.#pack(first)).get(slice);
  }

  /** Resolves when the record is durable; replaces an existing one. */
  async put(slice: number, record: Buffer, fence: WriteFence): Promise<void> {
    await this.objects.put(this.#nameOf(slice), record, fence);
    await this.#added(slice, record, fence);
  }

  /** As `put`, but keeps an existing record. */
  async putIfAbsent(slice: number, record: Buffer, fence: WriteFence): Promise<void> {
    const isNew = await this.objects.putIfAbsent(this.#nameOf(slice), record, fence);
    await this.#added(slice, isNew ? record : await this.objects.get(this.#nameOf(slice)), fence);
  }

  /** Holds the record back until its pack is complete, or until `flush`: for a slice that is quickly copied again. */
  async putLater(slice: number, record: Buffer, fence: WriteFence): Promise<void> {
    this.#pending.add(slice);
    await this.#added(slice, record, fence);
  }

  /** Makes the records of `putLater` durable. */
  async flush(fence: WriteFence): Promise<void> {
    await inParallel([...this.#pending], IN_FLIGHT, async (slice) => {
      await this.objects.put(this.#nameOf(slice), this.#contents.get(slice)!, fence);
      this.#single.add(slice);
      this.#pending.delete(slice);
    });
  }

  /** Removes records; the others in the same packs stay. */
  async remove(slices: Iterable<number>, fence: WriteFence): Promise<void> {
    const going = new Set(slices);
    for (const first of new Set([...going].map(packOf))) {
      if (!this.#packs.has(first)) continue;
      const staying = [...(await this.#pack(first))].filter(([slice]) => !going.has(slice));
      await inParallel(staying, IN_FLIGHT, async ([slice, record]) => {
        await this.objects.put(this.#nameOf(slice), record, fence);
        this.#single.add(slice);
      });
      // A late record beside the pack would become valid once the pack is gone.
      await inParallel(
        [...going].filter((slice) => packOf(slice) === first),
        IN_FLIGHT,
        (slice) => this.objects.delete(this.#nameOf(slice), fence),
      );
      await this.objects.delete(this.#packName(first), fence);
      this.#packs.delete(first);
      this.#readPacks.delete(first);
    }
    await inParallel(going, IN_FLIGHT, async (slice) => {
      await this.objects.delete(this.#nameOf(slice), fence);
      this.#single.delete(slice);
      this.#contents.delete(slice);
    });
  }

  async #added(slice: number, record: Buffer | undefined, fence: WriteFence): Promise<void> {
    if (!this.#pending.has(slice)) this.#single.add(slice);
    if (record) this.#contents.set(slice, record);
    const first = packOf(slice);
    if (this.#packing.has(first) || this.#packs.has(first)) return;
    // The last slices of a disk do not fill a pack, so they stay separate.
    const slices = Array.from({ length: PACKED }, (_, index) => first + index);
    if (!slices.every((one) => this.#single.has(one) || this.#pending.has(one))) return;
    const packing = this.#makePack(first, slices, fence);
    this.#packing.set(first, packing);
    try {
      await packing;
    } finally {
      this.#packing.delete(first);
    }
  }

  async #makePack(first: number, slices: readonly number[], fence: WriteFence): Promise<void> {
    const records: Buffer[] = [];
    for (const slice of slices) {
      const record = this.#contents.get(slice) ?? (await this.objects.get(this.#nameOf(slice)));
      // Missing: another process has packed it, or found it wrong.
      if (!record) return;
      records.push(record);
    }
    await this.objects.putIfAbsent(this.#packName(first), encodePack(first, records), fence);
    this.#packs.add(first);
    const single = slices.filter((slice) => this.#single.has(slice));
    for (const slice of slices) {
      this.#contents.delete(slice);
      this.#pending.delete(slice);
      this.#single.delete(slice);
    }
    // All together: a store with a catalog changes it only once.
    await inParallel(single, single.length, (slice) => this.objects.delete(this.#nameOf(slice), fence));
  }

  #pack(first: number): Promise<ReadonlyMap<number, Buffer>> {
    const read = this.#readPacks.get(first) ?? this.#readPack(first);
    this.#readPacks.delete(first);
    this.#readPacks.set(first, read);
    for (const oldest of this.#readPacks.keys()) {
      if (this.#readPacks.size <= PACKS_KEPT) break;
      this.#readPacks.delete(oldest);
    }
    return read;
  }

  async #readPack(first: number): Promise<ReadonlyMap<number, Buffer>> {
    const content = await this.objects.get(this.#packName(first));
    // A pack that does not exist yet may exist at the next request.
    if (!content) this.#readPacks.delete(first);
    return content ? decodePack(first, content) : new Map();
  }

  #nameOf = (slice: number): string => `${this.prefix}${digits(slice)}.digests`;
  #packName = (first: number): string => `${this.prefix}${digits(first)}-${digits(first + PACKED - 1)}.pack`;
}

const packOf = (slice: number): number => slice - (slice % PACKED);

function encodePack(first: number, records: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(MAGIC.length + 4 + records.length * 4);
  head.write(MAGIC, 0, 'latin1');
  head.writeUInt32LE(first, MAGIC.length);
  for (const [index, { length }] of records.entries()) head.writeUInt32LE(length, MAGIC.length + 4 + index * 4);
  return Buffer.concat([head, ...records]);
}

/** @returns the records by slice; none if the pack is damaged. Each record can be verified by itself. */
function decodePack(first: number, content: Buffer): Map<number, Buffer> {
  const records = new Map<number, Buffer>();
  let at = MAGIC.length + 4 + PACKED * 4;
  if (content.length < at || content.toString('latin1', 0, MAGIC.length) !== MAGIC) return records;
  if (content.readUInt32LE(MAGIC.length) !== first) return records;
  for (let index = 0; index < PACKED; index += 1) {
    const stop = at + content.readUInt32LE(MAGIC.length + 4 + index * 4);
    records.set(first + index, content.subarray(at, stop));
    at = stop;
  }
  return records;
}
