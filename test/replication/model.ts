/** A VM whose disks are known byte by byte. */
import { mergeRanges, type Range } from '../../domain/ranges.js';
import type { ReplicaDescription } from '../../domain/vault.js';
import { replicaSizeOf } from '../../replication/replica.js';
import type { ChangeSet, Cut } from '../../ports/change-source.js';
import { inBatches } from '../support/change-sets.js';

export const VM = 'db-01';
export const KiB = 1024;
export const MiB = 1024 * KiB;

/** `undefined` data is zeroes. */
export interface Change extends Range {
  readonly data: Buffer | undefined;
}

/** Bytes that depend on the seed, none of them zero. */
export function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  for (let at = 0; at < length; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = (state >>> 24) | 1;
  }
  return bytes;
}

export const write = (offset: number, length: number, seed: number): Change => ({
  offset,
  length,
  data: pattern(length, seed),
});
export const zero = (offset: number, length: number): Change => ({ offset, length, data: undefined });

/** The source's disks as they should be now, in memory. */
export class Model {
  readonly disks = new Map<string, Buffer>();
  /** Writes per disk so far: the number of the last one. */
  readonly writes = new Map<string, number>();
  #changes = new Map<string, Change[]>();

  constructor(sizes: Readonly<Record<string, number>>) {
    for (const [name, size] of Object.entries(sizes)) this.disks.set(name, Buffer.alloc(size));
  }

  write(disk: string, change: Change): void {
    const content = this.disks.get(disk)!;
    if (change.data) change.data.copy(content, change.offset);
    else content.fill(0, change.offset, change.offset + change.length);
    this.#changes.set(disk, [...(this.#changes.get(disk) ?? []), change]);
    this.writes.set(disk, (this.writes.get(disk) ?? 0) + 1);
  }

  /** All disks at this instant; later writes are not in it. */
  seal(epoch: number, sequence: number, final = false): { cut: Cut; changeSet: ChangeSet } {
    const sealed = new Map([...this.disks].map(([name, content]) => [name, Buffer.from(content)]));
    const changes = this.#changes;
    this.#changes = new Map();
    const cut: Cut = {
      vm: VM,
      epoch,
      sequence,
      sealedAt: new Date(Date.UTC(2026, 0, 1) + epoch * 3_600_000 + sequence * 300_000).toISOString(),
      final,
      disks: [...sealed].map(([name, content]) => ({
        name,
        size: content.length,
        token: `${name}-${epoch}-${sequence}`,
        lastWrite: this.writes.get(name) ?? 0,
      })),
    };
    const disks = [...sealed].map(([name, content]) => ({
      name,
      ranges: inBatches(rangesOf(changes.get(name) ?? [], content)),
      read: async (_: Range, { offset, length }: Range) => Buffer.from(content.subarray(offset, offset + length)),
    }));
    return { cut, changeSet: { disks, close: async () => undefined } };
  }
}

/** What changed, in pages that carry data and runs that became zero. */
function rangesOf(changes: readonly Change[], content: Buffer) {
  return mergeRanges(changes).flatMap((range) => {
    const parts: { offset: number; length: number; zero: boolean; position: number }[] = [];
    for (let offset = range.offset; offset < range.offset + range.length; offset += 512) {
      const isZero = content.subarray(offset, offset + 512).every((byte) => byte === 0);
      const last = parts.at(-1);
      if (last?.zero === isZero) last.length += 512;
      else parts.push({ offset, length: 512, zero: isZero, position: 0 });
    }
    return parts;
  });
}

export const describeReplica = (sizes: Readonly<Record<string, number>>, epoch: number): ReplicaDescription => ({
  vm: VM,
  host: 'host-1',
  vmmServer: 'vmm-1',
  epoch,
  generation: 2,
  size: 'Standard_D2s_v5',
  osDisk: Object.keys(sizes)[0]!,
  disks: Object.entries(sizes).map(([name, size]) => ({ name, size, replicaSize: replicaSizeOf(size) })),
  networkAdapters: [{ name: 'nic0', network: 'production', subnet: 'default' }],
  finalized: false,
});

export const sizesOf = (model: Model): Record<string, number> =>
  Object.fromEntries([...model.disks].map(([name, content]) => [name, content.length]));
