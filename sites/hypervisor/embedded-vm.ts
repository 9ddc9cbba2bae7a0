/**
 * One VM of the embedded hypervisor: its power state, the chains of its disks, and the tracker above them. While the VM
 * is off, its disk files are closed; an operation that needs them opens them and closes them again.
 *
 * Operations that change a VM run one at a time.
 */
import type { DirectBoot } from '../../domain/site.js';
import { CatalogueError } from '../../domain/errors.js';
import { formatFence, type Fence } from '../../domain/fence.js';
import type { Hardware } from '../../domain/hardware.js';
import { toIso } from '../../domain/time.js';
import type { Tracker } from '../../tracking/tracker.js';
import type { CutMoment, TrackerOptions } from '../../tracking/tracker-options.js';
import type { Cut, CutIdentity, CutOptions, WrittenState } from '../../ports/change-source.js';
import type { FailbackState } from '../../ports/failback-target.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { ShutDownResult } from '../../ports/hypervisor.js';
import { GuestFreezer } from './guest-freezer.js';
import type { DiskOfVm } from './vm-chain.js';
import { VmDisks, type WrittenPage } from './vm-disks.js';
import { VmExports } from './vm-exports.js';
import { VmFailback, type ServedLayers } from './vm-failback.js';
import { VmGuest, type GuestRunner } from './vm-guest.js';
import { SnapshotReserve } from './snapshot-reserve.js';
import { VmSnapshot, type Quietly } from './vm-snapshot.js';
import type { VmStateFile } from './vm-state-file.js';
import { requireUnchanged } from './unchanged.js';
import { VmTracking } from './vm-tracking.js';
import type { NbdServer } from '../nbd/nbd-server.js';
import { Mutex } from '../../concurrency/mutex.js';

/** How long a guest may take to shut down when its hypervisor is stopped, ms. */
const CLOSE_LIMIT_MS = 10_000;

export interface VmEnvironment extends TrackerOptions {
  readonly server: NbdServer;
  /** Undefined if no guests are booted: a VM then consists of its served disks only. */
  readonly guests?: GuestRunner | undefined;
}

export interface VmSettings {
  /** Unix socket of the QEMU guest agent. */
  readonly guestAgent?: string | undefined;
  readonly hardware?: Hardware | undefined;
  readonly directBoot?: DirectBoot | undefined;
  /** By name of the adapter, the network that it is connected to. */
  readonly networks?: Readonly<Record<string, string>> | undefined;
  /** Folder for the guest's files. */
  readonly guestFolder?: string | undefined;
}

export class EmbeddedVm {
  readonly #disks: VmDisks;
  readonly #tracking: VmTracking;
  readonly #snapshot: VmSnapshot;
  readonly #failback: VmFailback;
  readonly #freezer: GuestFreezer;
  readonly #exports: VmExports;
  readonly #guest: VmGuest | undefined;
  #failure: CatalogueError | undefined;
  #closed = false;
  readonly #turn = new Mutex();

  private constructor(
    readonly name: string,
    private readonly disks: readonly DiskOfVm[],
    private readonly state: VmStateFile,
    private readonly environment: VmEnvironment,
    private readonly settings: VmSettings,
  ) {
    this.#freezer = new GuestFreezer(name, settings.guestAgent, state, environment.warn);
    this.#disks = new VmDisks(disks);
    this.#snapshot = new VmSnapshot(name, this.#disks, state);
    this.#failback = new VmFailback(name, this.#disks, state, environment.server);
    const reserve = new SnapshotReserve(this.#disks, this.#snapshot, () => this.mergeSnapshot(), environment.warn);
    this.#tracking = new VmTracking(name, this.#disks, environment, reserve);
    this.#exports = new VmExports(name, disks, environment.server);
    this.#guest = this.#guestOf(settings);
  }

  /** Restores the VM to its previous state. A VM whose disks can't be used is still listed: it is off and says why. */
  static async load(
    name: string,
    disks: readonly DiskOfVm[],
    state: VmStateFile,
    environment: VmEnvironment,
    settings: VmSettings = {},
  ): Promise<EmbeddedVm> {
    const vm = new EmbeddedVm(name, disks, state, environment, settings);
    try {
      await vm.#load();
    } catch (error) {
      environment.warn(`${name} stays off`, error);
    }
    // The guest's disks must be served before the thaw lets it write again.
    if (!state.failure) await vm.#freezer.thawLeftOver();
    return vm;
  }

  /** Undefined if this hypervisor boots no guests. */
  get guest(): VmGuest | undefined {
    return this.#guest;
  }

  describe(): HypervisorVm {
    const [snapshot, tracking] = [this.#snapshot.name, this.#tracking.tracker?.state];
    const failback = this.#failback.describe();
    const { hardware } = this.settings;
    return {
      name: this.name,
      state: this.#exports.areOpen ? 'Running' : 'Off',
      ...(this.#guest && { guest: this.#guest.state }),
      disks: this.#disks.describe(this.#tracking.tracker, (disk) => this.#exports.uri(disk)),
      fencing: 'enforced',
      ...(hardware && { hardware }),
      ...(tracking ? { tracking } : {}),
      ...(snapshot === undefined ? {} : { snapshot }),
      ...(failback && { failback }),
      ...(this.#failure ? { failure: { code: this.#failure.code, detail: this.#failure.detail } } : {}),
    };
  }

  /**
   * Like `describe`, but as the disks of a VM that is off are now: the next operation uses their current sizes, and fails
   * if one is missing.
   */
  async describeNow(): Promise<HypervisorVm> {
    const growth = await this.#tracking.growth();
    const obstacle = this.#failure ? undefined : await this.#tracking.obstacle();
    const vm = this.describe();
    const failure = obstacle && { failure: { code: obstacle.code, detail: obstacle.detail } };
    return {
      ...vm,
      ...failure,
      disks: vm.disks.map((disk, index) => ({ ...disk, size: disk.size + (growth[index] ?? 0) })),
    };
  }

  start(epoch: number): Promise<void> {
    return this.#turn.run(async () => {
      await this.#checkFence(epoch);
      const { state } = await this.#loaded();
      // Changes logged under an older epoch can no longer be sent, so the log would only grow.
      if (state && state.epoch < epoch) await this.#stopTracking();
      if (this.#exports.areOpen && epoch <= this.state.current.startedEpoch) return;
      await this.#failback.close();
      await this.#tracking.open();
      await this.#failback.requireOriginals();
      await this.state.change(({ exportsClosedAt: _, ...state }) => ({
        ...state,
        power: 'Running',
        startedEpoch: Math.max(epoch, state.startedEpoch),
      }));
      await this.#run();
    });
  }

  shutDown(): Promise<ShutDownResult> {
    return this.#turn.run(() => this.#powerOff(true));
  }

  /** Turns the VM off even if its disks fail. */
  async turnOff(): Promise<void> {
    // Turned off outside the mutex, so that a slow shutdown in progress does not delay this.
    await this.#guest?.turnOff();
    await this.#turn.run(() => this.#powerOff(false));
  }

  fence(epoch: number): Promise<void> {
    return this.#turn.run(() =>
      this.state.change((state) => ({ ...state, fencedEpoch: Math.max(epoch, state.fencedEpoch) })),
    );
  }

  beginReplication(epoch: number, unchangedSince?: WrittenState): Promise<void> {
    return this.#turn.run(async () => {
      await this.#checkFence(epoch);
      const { state } = await this.#loaded();
      if (state?.epoch === epoch) return;
      this.#failback.requireNone();
      if (epoch < Math.max(this.state.current.replicatedEpoch, state?.epoch ?? 0)) {
        throw new CatalogueError('StaleEpoch', `${this.name} has been replicated in a newer epoch than ${epoch}`);
      }
      await this.#withDisks(async (tracker, quietly) => {
        if (unchangedSince) requireUnchanged(this.name, this.state.current, tracker, unchangedSince);
        // Left by an older epoch or an attempt that died. Its overlay holds the guest's writes since then.
        await this.#snapshot.mergeAll(quietly);
        await tracker.room.require();
        await this.#snapshot.take({ epoch }, quietly, () => tracker.start(epoch));
      });
    });
  }

  endReplication(ofEpoch?: number): Promise<void> {
    return this.#turn.run(async () => {
      if (ofEpoch === undefined || (await this.#loaded()).state?.epoch === ofEpoch) await this.#stopTracking();
    });
  }

  async #stopTracking(): Promise<void> {
    await (await this.#loaded()).stop();
    if (this.#failback.isOpen) return;
    await this.#withDisks((_, quietly) => this.#snapshot.mergeAll(quietly));
  }

  /**
   * Checks that the base files are in their places and still hold the state of the snapshot.
   * @returns the key (see `fileKey`) that the file of the disk must have when it is opened; undefined while the disk is
   * closed.
   */
  async checkSnapshot(epoch: number, disk: string): Promise<string | undefined> {
    this.#snapshot.check(epoch);
    await this.#disks.requireInPlace();
    return this.#disks.fileKey(disk);
  }

  mergeSnapshot(): Promise<number> {
    return this.#turn.run(async () => {
      if (this.#closed) return 0;
      await this.#loaded();
      this.#failback.requireNone();
      return this.#withDisks((_, quietly) => this.#snapshot.merge(quietly));
    });
  }

  cut(fence: Fence, { appConsistent, existing }: CutOptions = {}): Promise<Cut> {
    return this.#turn.run(async () => {
      await this.#checkFence(fence.epoch);
      const tracker = await this.#loaded();
      await this.#tracking.check();
      if (existing) return this.#freezer.recorded(tracker.madeCut(fence));
      const cut = (moment?: CutMoment) => tracker.cut(fence, this.state.current.power === 'Off', moment);
      if (!appConsistent) return this.#freezer.recorded(await cut());
      return this.#freezer.cut(fence, appConsistent.deadlineMs, cut);
    });
  }

  snapshotAndCut(fence: Fence): Promise<Cut> {
    return this.#turn.run(async () => {
      await this.#checkFence(fence.epoch);
      const loaded = await this.#loaded();
      const cut = (tracker: Tracker) => tracker.cut(fence, this.state.current.power === 'Off');
      if (this.#snapshot.isOfCut(fence)) return cut(loaded);
      const { state } = loaded;
      if (state?.epoch === fence.epoch && state.openSequence > fence.sequence) {
        this.#snapshot.requireKept(fence.epoch);
        throw new CatalogueError('InvalidVmState', `${this.name}: ${formatFence(fence)} was cut without a snapshot`);
      }
      return this.#withDisks(async (tracker, quietly) => {
        await this.#snapshot.mergeAll(quietly);
        await tracker.room.require();
        return this.#snapshot.take(fence, quietly, () => cut(tracker));
      });
    });
  }

  releaseCuts(upTo: CutIdentity): Promise<void> {
    return this.#turn.run(async () => (await this.#loaded()).releaseCuts(upTo));
  }

  beginFailback(epoch: number): Promise<FailbackState> {
    return this.#turn.run(async () => {
      await this.#checkFence(epoch);
      const tracker = await this.#loaded();
      if (await this.#failback.prepare(epoch, () => this.#tracking.putDown())) await this.#tracking.check();
      await this.#withDisks(async (_, quietly) => {
        if (!this.#failback.isOpen) await this.#snapshot.mergeAll(quietly);
        await this.#failback.begin(epoch, tracker.state, quietly);
        // Its logs can no longer be sent, and nothing below the layers may change any more.
        await tracker.stop();
      });
      return this.#failback.describe()!;
    });
  }

  /** @returns where the layers are served; undefined if they hold the change set. */
  serveFailback(fence: Fence): Promise<ServedLayers | undefined> {
    return this.#turn.run(async () => {
      await this.#checkFence(fence.epoch);
      await this.#loaded();
      await this.#tracking.open();
      try {
        return await this.#failback.serve(fence);
      } catch (error) {
        if (this.state.current.power === 'Off') await this.#tracking.putDown();
        throw error;
      }
    });
  }

  completeFailback(fence: Fence): Promise<void> {
    return this.#turn.run(async () => {
      await this.#loaded();
      await this.#withDisks(() => this.#failback.complete(fence));
      if (this.state.current.power === 'Off') await this.#tracking.putDown();
    });
  }

  commitFailback(epoch: number): Promise<void> {
    return this.#turn.run(async () => {
      await this.#loaded();
      await this.#failback.commit(epoch);
    });
  }

  discardFailback(epoch: number): Promise<void> {
    return this.#turn.run(async () => {
      await this.#loaded();
      await this.#failback.discard(epoch, () => this.#tracking.putDown());
    });
  }

  /** See `VmDisks.writtenFrom`. */
  writtenFrom(disk: string, offset: number, ofSnapshot: boolean): Promise<WrittenPage> {
    return this.#turn.run(async () => {
      await this.#loaded();
      return this.#withDisks(async () => this.#disks.writtenFrom(disk, offset, ofSnapshot));
    });
  }

  /** Closes everything in order, without changing whether the VM is meant to run. */
  close(): Promise<void> {
    this.#closed = true;
    return this.#turn.run(async () => {
      await this.#freezer.close();
      // The guest boots again when the hypervisor starts again.
      await this.#guest?.shutDown(CLOSE_LIMIT_MS);
      await this.#failback.close();
      await this.#exports.close();
      const { tracker } = this.#tracking;
      if (!tracker) return;
      await tracker.pause();
      try {
        await tracker.flush();
        await this.#tracking.putDown();
        await tracker.close();
      } catch (error) {
        // The logs stay as a killed process leaves them, with a mark if something could not be stored.
        this.environment.warn(`${this.name} could not be shut down cleanly`, error);
      }
      await this.#disks.close(tracker);
    });
  }

  async #checkFence(epoch: number): Promise<void> {
    await this.state.recover();
    const { fencedEpoch } = this.state.current;
    if (epoch >= fencedEpoch) return;
    throw new CatalogueError('StaleEpoch', `${this.name} is fenced by epoch ${fencedEpoch}, asked with ${epoch}`);
  }

  /** Opens the disks and loads their logs. Retries after a failure, because the missing disk may be back. */
  async #loaded(): Promise<Tracker> {
    if (!this.#tracking.tracker) await this.#load();
    return this.#tracking.tracker!;
  }

  /** Also starts the VM if it is meant to run. */
  async #load(): Promise<void> {
    try {
      await this.state.recover();
      // The VM's state is unknown, so leave its disks alone.
      if (this.state.failure) throw this.state.failure;
      await this.#failback.finishDiscarding();
      await this.#tracking.load((tracker) => this.#snapshot.settle(tracker.state));
      if (this.state.current.power === 'Running') await this.#failback.requireOriginals();
      this.#failure = undefined;
    } catch (error) {
      // Any failure concerns only this VM.
      this.#failure =
        error instanceof CatalogueError
          ? error
          : new CatalogueError('BrokenChain', `${this.name}: ${(error as Error).message}`, { cause: error });
      throw this.#failure;
    }
    const { power, startedEpoch, fencedEpoch } = this.state.current;
    if (power === 'Running' && startedEpoch >= fencedEpoch) await this.#run();
    else await this.#tracking.putDown();
  }

  /** Serves the disks and boots the guest from them. */
  async #run(): Promise<void> {
    this.#exports.open(this.#tracking.tracker!);
    const disks = this.disks.map(({ name }) => [name, this.#exports.uri({ name })!] as const);
    await this.#guest?.boot(new Map(disks));
  }

  #guestOf({ hardware, directBoot, networks, guestFolder }: VmSettings): VmGuest | undefined {
    const { guests, warn } = this.environment;
    if (!guests || !hardware || guestFolder === undefined) return undefined;
    const settings = { hardware, directBoot, networks, folder: guestFolder };
    // A guest that shuts itself down turns the VM off, as a request to the hypervisor would.
    const onEnded = () => void this.shutDown().catch((error: unknown) => warn(`${this.name} has shut down`, error));
    return new VmGuest(this.name, guests, settings, onEnded, warn);
  }

  /** Opens the disks of a VM that is off for the duration of the action. */
  async #withDisks<T>(action: (tracker: Tracker, quietly: Quietly) => Promise<T>): Promise<T> {
    const wereOpen = this.#disks.areOpen;
    const tracker = await this.#tracking.open();
    try {
      return await action(tracker, (change) => this.#quietly(tracker, change));
    } catch (error) {
      // If the failure was in syncing a base or an overlay, this marks the VM.
      if (this.#disks.areOpen) await tracker.flush().catch(() => undefined);
      throw error;
    } finally {
      if (!wereOpen) await this.#tracking.putDown();
    }
  }

  /**
   * Runs an action with no request in flight. Afterwards the guest uses the tops of the chains, even if the action
   * failed halfway.
   */
  async #quietly(tracker: Tracker, action: () => Promise<void>): Promise<void> {
    await tracker.pause();
    try {
      await action();
    } finally {
      this.#disks.attach(tracker);
      tracker.resume();
    }
  }

  async #powerOff(inOrder: boolean): Promise<ShutDownResult> {
    const { power, exportsClosedAt } = this.state.current;
    if (power === 'Off' && exportsClosedAt !== undefined) return { exportsClosedAt };
    await (inOrder ? this.#guest?.shutDown() : this.#guest?.turnOff());
    await this.#exports.close();
    const { tracker } = this.#tracking;
    try {
      await tracker?.pause();
      await tracker?.flush();
    } catch (error) {
      if (inOrder) throw error;
      this.environment.warn(`${this.name} was turned off; a disk could not be flushed`, error);
      // The disk's contents are unknown, so this is not recorded as an orderly close.
      await this.#disks.close(tracker);
    } finally {
      tracker?.resume();
    }
    const closedAt = toIso(Date.now());
    // A guest that is off is no longer frozen.
    await this.state.change(({ frozenSince: _, ...state }) => ({ ...state, power: 'Off', exportsClosedAt: closedAt }));
    await this.#tracking.putDown();
    return { exportsClosedAt: closedAt };
  }
}
