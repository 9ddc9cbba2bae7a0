/**
 * One VM of the embedded hypervisor: its power, its disks' chains, and the tracker above them. While it is off its disk
 * files are closed; what has to be done to them then opens them for as long as it takes.
 *
 * What changes a VM is done one after the other.
 */
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import { toIso } from '../../domain/time.js';
import { Tracker, type TrackerOptions } from '../../replication/tracker.js';
import type { TrackedDisk } from '../../replication/tracker-disk.js';
import type { Cut, HypervisorVm, ShutDownResult } from '../ports.js';
import { DiskChain, type DiskOfVm } from './hypervisor-chain.js';
import type { VmStateFile } from './hypervisor-state.js';
import type { Durability, NbdExport } from './nbd-export.js';
import type { NbdServer } from './nbd-server.js';

/** How long one request to merge may work, ms, and how long one that has to be done with a merge first. */
const MERGE_SLICE_MS = 2_000;
const MERGE_FIRST_MS = 20_000;
const MERGE_STEP_BYTES = 16 * 1024 * 1024;

export interface VmEnvironment extends TrackerOptions {
  readonly server: NbdServer;
}

export class EmbeddedVm {
  #tracker: Tracker | undefined;
  #chains: DiskChain[] | undefined;
  #exported = false;
  #failure: CatalogueError | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly name: string,
    private readonly disks: readonly DiskOfVm[],
    private readonly state: VmStateFile,
    private readonly environment: VmEnvironment,
  ) {}

  /** Picks the VM up where it was. One whose disks cannot be used is there all the same, off, and says why. */
  static async load(
    name: string,
    disks: readonly DiskOfVm[],
    state: VmStateFile,
    environment: VmEnvironment,
  ): Promise<EmbeddedVm> {
    const vm = new EmbeddedVm(name, disks, state, environment);
    try {
      await vm.#load();
      const { power, startedEpoch, fencedEpoch } = state.current;
      if (power === 'Running' && startedEpoch >= fencedEpoch) vm.#export();
      else await vm.#closeDisks();
    } catch (error) {
      environment.warn(`${name} stays off`, error);
    }
    return vm;
  }

  describe(): HypervisorVm {
    const { snapshot } = this.state.current;
    const tracking = this.#tracker?.state;
    return {
      name: this.name,
      state: this.#exported ? 'Running' : 'Off',
      disks: this.disks.map((disk, index) => {
        const tracked = this.#tracker?.disks[index];
        return {
          name: disk.name,
          path: disk.path,
          format: disk.format,
          size: tracked?.size ?? 0,
          ...(this.#exported ? { nbdUri: this.environment.server.uri(this.#exportName(disk)) } : {}),
          logBytes: tracked ? this.#tracker!.logBytes(tracked) : 0,
        };
      }),
      ...(tracking ? { tracking } : {}),
      ...(snapshot && snapshot.phase !== 'creating' ? { snapshot: snapshotName(snapshot.epoch) } : {}),
      ...(this.#failure ? { failure: { code: this.#failure.code, detail: this.#failure.detail } } : {}),
    };
  }

  start(epoch: number): Promise<void> {
    return this.#inTurn(async () => {
      this.#checkFence(epoch);
      await this.#loaded();
      if (this.#exported) return;
      await this.#openDisks();
      await this.state.change(({ exportsClosedAt: _, ...state }) => ({
        ...state,
        power: 'Running',
        startedEpoch: Math.max(epoch, state.startedEpoch),
      }));
      this.#export();
    });
  }

  shutDown(): Promise<ShutDownResult> {
    return this.#inTurn(() => this.#powerOff(true));
  }

  /** As shutting down, but off it goes, whatever its disks say. */
  async turnOff(): Promise<void> {
    await this.#inTurn(() => this.#powerOff(false));
  }

  fence(epoch: number): Promise<void> {
    return this.#inTurn(() =>
      this.state.change((state) => ({ ...state, fencedEpoch: Math.max(epoch, state.fencedEpoch) })),
    );
  }

  beginReplication(epoch: number): Promise<void> {
    return this.#inTurn(async () => {
      this.#checkFence(epoch);
      const tracker = await this.#loaded();
      if (tracker.state?.epoch === epoch) return;
      if (epoch < Math.max(this.state.current.replicatedEpoch, tracker.state?.epoch ?? 0)) {
        throw new CatalogueError('StaleEpoch', `${this.name} has been replicated in a newer epoch than ${epoch}`);
      }
      await this.#withDisks(async (chains) => {
        // A snapshot of an older epoch, or of an attempt that died: what guests wrote since is in its overlay.
        await this.#mergeFirst(tracker, chains);
        await this.state.change((state) => ({
          ...state,
          replicatedEpoch: epoch,
          snapshot: { epoch, phase: 'creating' },
        }));
        await this.#quietly(tracker, chains, async () => {
          for (const chain of chains) await chain.takeSnapshot();
          await tracker.start(epoch);
        });
        await this.state.change((state) => ({ ...state, snapshot: { epoch, phase: 'taken' } }));
      });
    });
  }

  endReplication(): Promise<void> {
    return this.#inTurn(async () => {
      const tracker = await this.#loaded();
      await tracker.stop();
      await this.#withDisks((chains) => this.#mergeFirst(tracker, chains));
    });
  }

  /** Whether the base files are still what the disks were when the snapshot was taken. */
  checkSnapshot(epoch: number): void {
    const { snapshot } = this.state.current;
    if (snapshot?.epoch === epoch && snapshot.phase === 'taken') return;
    const found = snapshot
      ? `its snapshot is ${snapshotName(snapshot.epoch)}, ${snapshot.phase}`
      : 'it has no snapshot';
    throw new CatalogueError('InvalidVmState', `${this.name}: no snapshot of epoch ${epoch}; ${found}`);
  }

  mergeSnapshot(): Promise<number> {
    return this.#inTurn(async () => {
      const tracker = await this.#loaded();
      return this.#withDisks((chains) => this.#merge(tracker, chains, MERGE_SLICE_MS));
    });
  }

  cut(fence: Fence): Promise<Cut> {
    return this.#inTurn(async () => {
      this.#checkFence(fence.epoch);
      const tracker = await this.#loaded();
      return tracker.cut(fence, this.state.current.power === 'Off');
    });
  }

  releaseLogs(fence: Fence): Promise<void> {
    return this.#inTurn(async () => (await this.#loaded()).releaseLogs(fence));
  }

  /** Lets go of everything in order; the VM is not shut down by it. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#unexport();
      if (!this.#tracker) return;
      await this.#tracker.pause();
      await this.#eachOpenDisk((chain) => chain.top.flush());
      await this.#tracker.close();
      await this.#closeDisks();
    });
  }

  async #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(action);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #checkFence(epoch: number): void {
    const { fencedEpoch } = this.state.current;
    if (epoch >= fencedEpoch) return;
    throw new CatalogueError('StaleEpoch', `${this.name} is fenced by epoch ${fencedEpoch}, asked with ${epoch}`);
  }

  /** Opens the disks and picks up their logs; tried again after a failure, as the disk may have been put back. */
  async #loaded(): Promise<Tracker> {
    if (this.#tracker) return this.#tracker;
    await this.#load();
    if (this.state.current.power === 'Off') await this.#closeDisks();
    return this.#tracker!;
  }

  async #load(): Promise<void> {
    const chains: DiskChain[] = [];
    try {
      for (const disk of this.disks) chains.push(await DiskChain.open(disk));
      const tracked = this.disks.map(({ name, path }, index) => ({ name, path, chain: chains[index]!.top }));
      const tracker = await Tracker.load(this.name, tracked, this.environment);
      await this.#settleSnapshot(tracker, chains);
      this.#tracker = tracker;
      this.#chains = chains;
      this.#failure = undefined;
    } catch (error) {
      await Promise.all(chains.map((chain) => chain.close()));
      // Whatever it is, it is this VM's alone.
      this.#failure =
        error instanceof CatalogueError
          ? error
          : new CatalogueError('BrokenChain', `${this.name}: ${(error as Error).message}`, { cause: error });
      throw this.#failure;
    }
  }

  /** After a restart: what a request that died with the process had got to. */
  async #settleSnapshot(tracker: Tracker, chains: readonly DiskChain[]): Promise<void> {
    const { snapshot } = this.state.current;
    if (!snapshot) return;
    const overlays = chains.filter((chain) => chain.snapshot).length;
    const isTaken = overlays === chains.length && tracker.state?.epoch === snapshot.epoch;
    if (snapshot.phase === 'creating' && isTaken) {
      await this.state.change((state) => ({ ...state, snapshot: { ...snapshot, phase: 'taken' } }));
    } else if (overlays === 0) {
      await this.state.change(({ snapshot: _, ...state }) => state);
    }
  }

  async #openDisks(): Promise<DiskChain[]> {
    if (this.#chains) return this.#chains;
    const chains: DiskChain[] = [];
    try {
      for (const disk of this.disks) chains.push(await DiskChain.open(disk));
      this.#attach(this.#tracker!, chains);
    } catch (error) {
      await Promise.all(chains.map((chain) => chain.close()));
      throw error;
    }
    this.#chains = chains;
    return chains;
  }

  #attach(tracker: Tracker, chains: readonly DiskChain[]): void {
    for (const [index, disk] of tracker.disks.entries()) disk.attach(chains[index]!.top);
  }

  async #closeDisks(): Promise<void> {
    const chains = this.#chains ?? [];
    this.#chains = undefined;
    for (const disk of this.#tracker?.disks ?? []) disk.detach();
    for (const chain of chains) await chain.close();
  }

  async #withDisks<T>(action: (chains: readonly DiskChain[]) => Promise<T>): Promise<T> {
    const wasOpen = this.#chains !== undefined;
    const chains = await this.#openDisks();
    try {
      return await action(chains);
    } finally {
      if (!wasOpen) {
        await this.#eachOpenDisk((chain) => chain.top.flush());
        await this.#closeDisks();
      }
    }
  }

  async #eachOpenDisk(action: (chain: DiskChain) => Promise<void>): Promise<void> {
    await Promise.all((this.#chains ?? []).map(action));
  }

  /** Does something with nothing in flight; the guest is on the chains' tops afterwards, even if it failed half-way. */
  async #quietly(tracker: Tracker, chains: readonly DiskChain[], action: () => Promise<void>): Promise<void> {
    await tracker.pause();
    try {
      await action();
    } finally {
      this.#attach(tracker, chains);
      tracker.resume();
    }
  }

  async #mergeFirst(tracker: Tracker, chains: readonly DiskChain[]): Promise<void> {
    const left = await this.#merge(tracker, chains, MERGE_FIRST_MS);
    if (left > 0) throw new CatalogueError('MergeUnfinished', `${this.name}: ${left} bytes are still to be merged`);
  }

  /** @returns bytes left; at 0 the snapshot is gone. */
  async #merge(tracker: Tracker, chains: readonly DiskChain[], milliseconds: number): Promise<number> {
    const deadline = performance.now() + milliseconds;
    const overlays = chains.flatMap((chain) => chain.snapshot ?? []);
    const { snapshot } = this.state.current;
    if (snapshot && snapshot.phase !== 'merging') {
      await this.state.change((state) => ({ ...state, snapshot: { ...snapshot, phase: 'merging' } }));
    }
    let left = 0;
    for (const overlay of overlays) {
      await overlay.beginMerge();
      let ofThis = overlay.overlayBytes;
      while (ofThis > 0 && performance.now() < deadline) ofThis = await overlay.mergeStep(MERGE_STEP_BYTES);
      left += ofThis;
    }
    if (left > 0) return left;
    if (overlays.length > 0) {
      await this.#quietly(tracker, chains, async () => {
        for (const chain of chains) await chain.dropSnapshot();
      });
    }
    if (snapshot) await this.state.change(({ snapshot: _, ...state }) => state);
    return 0;
  }

  async #powerOff(inOrder: boolean): Promise<ShutDownResult> {
    const { power, exportsClosedAt } = this.state.current;
    if (power === 'Off' && exportsClosedAt !== undefined) return { exportsClosedAt };
    await this.#unexport();
    try {
      await this.#tracker?.pause();
      await this.#eachOpenDisk((chain) => chain.top.flush());
    } catch (error) {
      if (inOrder) throw error;
      this.environment.warn(`${this.name} was turned off; a disk could not be flushed`, error);
    } finally {
      this.#tracker?.resume();
    }
    const closedAt = toIso(Date.now());
    await this.state.change((state) => ({ ...state, power: 'Off', exportsClosedAt: closedAt }));
    await this.#closeDisks();
    return { exportsClosedAt: closedAt };
  }

  #export(): void {
    for (const [index, disk] of this.disks.entries()) {
      this.environment.server.addExport(this.#exportName(disk), exportOf(this.#tracker!.disks[index]!));
    }
    this.#exported = true;
  }

  async #unexport(): Promise<void> {
    await Promise.all(this.disks.map((disk) => this.environment.server.removeExport(this.#exportName(disk))));
    this.#exported = false;
  }

  #exportName(disk: DiskOfVm): string {
    return `${this.name}/${disk.name}`;
  }
}

const snapshotName = (epoch: number): string => `replication-${epoch}`;

const exportOf = (disk: TrackedDisk): NbdExport => {
  const finish = async (written: Promise<void>, { fua }: Durability) => {
    await written;
    if (fua) await disk.flush();
  };
  return {
    size: disk.size,
    read: (target, offset) => disk.read(target, offset),
    write: (data, offset, durability) => finish(disk.write(data, offset), durability),
    writeZeroes: (range, durability) => finish(disk.writeZeroes(range), durability),
    flush: () => disk.flush(),
  };
};
