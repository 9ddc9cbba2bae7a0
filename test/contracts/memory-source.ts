/**
 * A source of changes whose VMs are in memory, for the contracts and the engine's tests. It is built as a host is that tracks
 * changes by itself: a cut is a snapshot that may get lost, and changes are told in blocks, by calls, without zeroes.
 */
import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ReadableDisk } from '../../disks/disk.js';
import { CatalogueError } from '../../domain/errors.js';
import { formatFence, type Fence } from '../../domain/fence.js';
import type { Fencing } from '../../domain/fencing.js';
import type { Hardware } from '../../domain/hardware.js';
import { clipRanges, end, type Range } from '../../domain/ranges.js';
import { toIso } from '../../domain/time.js';
import type {
  ChangeRange,
  ChangeSet,
  ChangeSource,
  Cut,
  CutIdentity,
  CutOptions,
  WrittenState,
} from '../../ports/change-source.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';

/** Changes are told in blocks of so many bytes. */
const BLOCK = 32 * 1024;
const RANGES_A_CALL = 5;

interface MemoryDisk {
  readonly content: Buffer;
  writes: number;
}
/** Contents of all disks at one instant. */
export type Frozen = ReadonlyMap<string, Buffer>;

interface MadeCut {
  readonly cut: Cut;
  readonly content: Frozen;
}

interface Tracking {
  readonly epoch: number;
  openSequence: number;
  /** As of the last cut that was released, or the beginning. */
  base: Frozen;
  /** Not released yet, oldest first. */
  cuts: MadeCut[];
}

interface Snapshot {
  readonly epoch: number;
  readonly sequence?: number;
  readonly content: Frozen;
  state: 'taken' | 'merging' | 'given up';
}

export class MemoryVm {
  readonly disks = new Map<string, MemoryDisk>();
  state: HypervisorVm['state'] = 'Running';
  exportsClosedAt: string | undefined;
  startedEpoch = 0;
  fencedEpoch = 0;
  replicatedEpoch = 0;
  tracking: Tracking | undefined;
  snapshot: Snapshot | undefined;

  constructor(
    readonly name: string,
    contents: Frozen,
    readonly hardware: Hardware | undefined,
    readonly fencing: Fencing,
  ) {
    for (const [disk, content] of contents) this.disks.set(disk, { content, writes: 0 });
  }

  get content(): Frozen {
    return new Map([...this.disks].map(([name, { content }]) => [name, Buffer.from(content)]));
  }

  checkFence(epoch: number): void {
    if (epoch >= this.fencedEpoch) return;
    throw new CatalogueError('StaleEpoch', `${this.name} runs elsewhere under epoch ${this.fencedEpoch}`);
  }
}

export class MemorySource implements ChangeSource {
  protected readonly vms = new Map<string, MemoryVm>();
  #tokens = 0;

  /** As the guest does. */
  write(vm: string, disk: string, data: Buffer, offset: number): void {
    const found = this.vm(vm);
    if (found.state === 'Off') throw new Error(`${vm} is off`);
    const { content } = found.disks.get(disk)!;
    data.copy(content, offset);
    found.disks.get(disk)!.writes += 1;
  }

  contentOf = (vm: string, disk: string): Buffer => Buffer.from(this.vm(vm).disks.get(disk)!.content);

  /** The host gives up what was cut and not released, and the snapshot that was taken with it. */
  loseCuts(vm: string): void {
    const { tracking, snapshot } = this.vm(vm);
    if (!tracking) return;
    tracking.openSequence -= tracking.cuts.length;
    tracking.cuts = [];
    if (snapshot?.sequence !== undefined) snapshot.state = 'given up';
  }

  async listVms(): Promise<HypervisorVm[]> {
    return Promise.all([...this.vms.keys()].map((vm) => this.describeVm(vm)));
  }

  async describeVm(vm: string): Promise<HypervisorVm> {
    const { name, state, disks, hardware, fencing, tracking, snapshot } = this.vm(vm);
    return {
      ...{ name, state, fencing },
      ...(hardware && { hardware }),
      disks: [...disks].map(([disk, { content }]) => ({
        ...{ name: disk, path: `memory/${vm}/${disk}`, format: 'raw', size: content.length },
      })),
      ...(tracking && {
        tracking: {
          ...{ epoch: tracking.epoch, openSequence: tracking.openSequence },
          lastWrites: Object.fromEntries([...disks].map(([disk, { writes }]) => [disk, writes])),
        },
      }),
      ...(snapshot?.state === 'taken' && { snapshot: `snapshot-${snapshot.epoch}` }),
    };
  }

  async beginReplication(vm: string, epoch: number): Promise<void> {
    const found = this.vm(vm);
    found.checkFence(epoch);
    if (found.tracking?.epoch === epoch) return;
    if (epoch < found.replicatedEpoch) throw new CatalogueError('StaleEpoch', `${vm}: ${found.replicatedEpoch}`);
    found.replicatedEpoch = epoch;
    for (const disk of found.disks.values()) disk.writes = 0;
    found.tracking = { epoch, openSequence: 1, base: found.content, cuts: [] };
    found.snapshot = { epoch, content: found.content, state: 'taken' };
  }

  async continueReplication(vm: string, epoch: number, unchangedSince: WrittenState): Promise<void> {
    const { state, tracking } = await this.describeVm(vm);
    if (tracking?.epoch !== epoch) {
      const isUnchanged = tracking?.epoch === unchangedSince.epoch;
      if (state !== 'Off' || !isUnchanged || !isDeepStrictEqual(tracking.lastWrites, unchangedSince.lastWrites)) {
        throw new CatalogueError('ResyncRequired', `${vm} may have been written to`);
      }
    }
    await this.beginReplication(vm, epoch);
  }

  async endReplication(vm: string, ofEpoch?: number): Promise<void> {
    const { tracking } = await this.describeVm(vm);
    if (ofEpoch === undefined || tracking?.epoch === ofEpoch) this.stopTracking(this.vm(vm));
  }

  async openSnapshotDisk(vm: string, epoch: number, disk: string): Promise<ReadableDisk> {
    const { snapshot } = this.vm(vm);
    if (snapshot?.epoch === epoch && snapshot.state === 'given up') {
      throw new CatalogueError('SnapshotGivenUp', `${vm}: the host removed it`);
    }
    if (snapshot?.epoch !== epoch || snapshot.state !== 'taken') {
      throw new CatalogueError('InvalidVmState', `${vm}: no snapshot of epoch ${epoch}`);
    }
    const content = snapshot.content.get(disk);
    if (!content) throw new CatalogueError('ResyncRequired', `${vm} has no disk ${disk}`);
    return new FrozenDisk(content);
  }

  async mergeSnapshot(vm: string): Promise<number> {
    const found = this.vm(vm);
    if (found.snapshot?.state === 'taken') {
      found.snapshot.state = 'merging';
      return BLOCK;
    }
    found.snapshot = undefined;
    return 0;
  }

  async cut(vm: string, fence: Fence, { existing, appConsistent }: CutOptions = {}): Promise<Cut> {
    const found = this.vm(vm);
    const made = this.#made(found, fence);
    if (made) return made.cut;
    if (existing) throw new CatalogueError('CutGone', `${vm}: nothing was cut for ${formatFence(fence)}`);
    const cut = this.#cut(found, fence);
    return appConsistent ? { ...cut, appConsistent: true } : cut;
  }

  async snapshotAndCut(vm: string, fence: Fence): Promise<Cut> {
    const found = this.vm(vm);
    const made = this.#made(found, fence);
    if (made && found.snapshot?.sequence !== fence.sequence) {
      throw new CatalogueError('InvalidVmState', `${vm}: ${formatFence(fence)} was cut without a snapshot`);
    }
    if (made) return made.cut;
    const cut = this.#cut(found, fence);
    found.snapshot = { ...fence, content: found.content, state: 'taken' };
    return cut;
  }

  async openChangeSet(cut: Cut): Promise<ChangeSet> {
    const { tracking } = this.vm(cut.vm);
    const held = () => {
      const index = tracking?.cuts.findIndex((made) => isSame(made.cut, cut)) ?? -1;
      if (index >= 0)
        return { now: tracking!.cuts[index]!, before: tracking!.cuts[index - 1]?.content ?? tracking!.base };
      throw new CatalogueError('CutGone', `${cut.vm}: the snapshot of ${formatFence(cut)} is gone`);
    };
    const { before } = held();
    return {
      close: async () => undefined,
      disks: cut.disks.map(({ name }) => ({
        name,
        ranges: {
          async *[Symbol.asyncIterator]() {
            const ranges = changedBlocks(before.get(name)!, held().now.content.get(name)!);
            for (let at = 0; at < ranges.length; at += RANGES_A_CALL) {
              await setImmediate();
              held();
              yield ranges.slice(at, at + RANGES_A_CALL);
            }
          },
        },
        read: async (range: ChangeRange, part: Range) => {
          if (part.offset < range.offset || end(part) > end(range)) throw new RangeError('not within the range');
          await setImmediate();
          return Buffer.from(held().now.content.get(name)!.subarray(part.offset, end(part)));
        },
      })),
    };
  }

  async releaseCuts(upTo: CutIdentity): Promise<void> {
    const { tracking } = this.vm(upTo.vm);
    if (tracking?.epoch !== upTo.epoch) return;
    const index = tracking.cuts.findIndex(({ cut }) => cut.sequence === upTo.sequence);
    const made = tracking.cuts[index]?.cut;
    if (made ? !isSame(made, upTo) : upTo.sequence >= tracking.openSequence) {
      throw new CatalogueError('CutGone', `${upTo.vm}: ${formatFence(upTo)} is not what was cut last`);
    }
    if (!made) return;
    tracking.base = tracking.cuts[index]!.content;
    tracking.cuts = tracking.cuts.slice(index + 1);
  }

  #made(vm: MemoryVm, fence: Fence): MadeCut | undefined {
    vm.checkFence(fence.epoch);
    const { tracking } = vm;
    if (!tracking) throw new CatalogueError('ResyncRequired', `${vm.name} is not tracked`);
    if (fence.epoch < tracking.epoch) throw new CatalogueError('StaleEpoch', `${vm.name}: ${tracking.epoch}`);
    if (fence.epoch > tracking.epoch) throw new CatalogueError('OutOfSequence', `${vm.name}: ${tracking.epoch}`);
    return tracking.cuts.find(({ cut }) => cut.sequence === fence.sequence);
  }

  #cut(vm: MemoryVm, { epoch, sequence }: Fence): Cut {
    const tracking = vm.tracking!;
    if (sequence !== tracking.openSequence) {
      throw new CatalogueError('OutOfSequence', `${vm.name}: ${tracking.openSequence} is open, not ${sequence}`);
    }
    const cut: Cut = {
      ...{ vm: vm.name, epoch, sequence, sealedAt: toIso(Date.now()), final: vm.state === 'Off' },
      disks: [...vm.disks].map(([name, { content, writes }]) => ({
        ...{ name, size: content.length, token: `snapshot-${(this.#tokens += 1)}`, lastWrite: writes },
      })),
    };
    tracking.openSequence += 1;
    tracking.cuts.push({ cut, content: vm.content });
    return cut;
  }

  protected stopTracking(vm: MemoryVm): void {
    vm.tracking = undefined;
    vm.snapshot = undefined;
  }

  protected vm(name: string): MemoryVm {
    const found = this.vms.get(name);
    if (!found) throw new CatalogueError('VmNotFound', name);
    return found;
  }
}

const isSame = (made: CutIdentity, cut: CutIdentity): boolean =>
  made.disks.every(({ name, token }) => cut.disks.some((disk) => disk.name === name && disk.token === token));

/** Neighbours are one range, however long. */
export function changedBlocks(before: Buffer, now: Buffer): ChangeRange[] {
  const ranges: { offset: number; length: number; zero: boolean; position: number }[] = [];
  for (let offset = 0; offset < now.length; offset += BLOCK) {
    const stop = Math.min(offset + BLOCK, now.length);
    if (now.subarray(offset, stop).equals(before.subarray(offset, stop))) continue;
    const last = ranges.at(-1);
    if (last && end(last) === offset) last.length += stop - offset;
    else ranges.push({ offset, length: stop - offset, zero: false, position: 0 });
  }
  return ranges;
}

/** As a source that knows nothing of holes shows it. */
class FrozenDisk implements ReadableDisk {
  constructor(private readonly content: Buffer) {}

  get size(): number {
    return this.content.length;
  }

  async read(target: Buffer, offset: number): Promise<void> {
    this.content.copy(target, 0, offset, offset + target.length);
  }

  async dataRanges(range: Range): Promise<Range[]> {
    return clipRanges([range], { offset: 0, length: this.size });
  }

  async close(): Promise<void> {}
}
