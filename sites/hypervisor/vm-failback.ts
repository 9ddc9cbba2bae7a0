/**
 * The layers in which a VM is brought back from the recovery site: overlays above its disks, which are served over NBD
 * while they receive a change set. Only one change set is received at a time; opening the next one, or the same one
 * again, disconnects whoever wrote before.
 */
import { CatalogueError } from '../../domain/errors.js';
import { formatFence, type Fence } from '../../domain/fence.js';
import type { FailbackState } from '../../ports/failback-target.js';
import type { TrackingState } from '../../ports/hypervisor-vm.js';
import type { NbdServer } from '../nbd/nbd-server.js';
import { exportOf } from './vm-exports.js';
import type { Quietly } from './vm-snapshot.js';
import type { VmDisks } from './vm-disks.js';
import type { VmStateFile } from './vm-state-file.js';

/** Where each disk is served for the change set, keyed by name; undefined if the layers hold it already. */
export type ServedLayers = Readonly<Record<string, string>>;

export class VmFailback {
  /** Names of the exports that serve the layers now. */
  #exports: string[] = [];
  #served = 0;

  constructor(
    private readonly vm: string,
    private readonly disks: VmDisks,
    private readonly state: VmStateFile,
    private readonly server: NbdServer,
  ) {}

  describe(): FailbackState | undefined {
    if (this.state.failure) return undefined;
    const { failback } = this.state.current;
    if (!failback || failback.phase === 'discarding') return undefined;
    const { phase, files: _, ...found } = failback;
    return { ...found, ...(phase === 'committed' && { isCommitted: true }) };
  }

  /** Whether the VM has layers that are not part of its disks yet. */
  get isOpen(): boolean {
    return this.state.current.failback !== undefined && this.state.current.failback.phase !== 'committed';
  }

  /** @throws CatalogueError InvalidVmState while the layers are neither committed nor discarded. */
  requireNone(): void {
    if (!this.isOpen) return;
    throw new CatalogueError(
      'InvalidVmState',
      `${this.vm} has been brought back from the recovery site and not been committed; commit or cancel the failback first`,
    );
  }

  /**
   * Before layers are created: discards those of an older epoch. @param putDown closes the disks.
   * @returns false if there are layers of this epoch. @throws CatalogueError InvalidVmState, StaleEpoch
   */
  async prepare(epoch: number, putDown: () => Promise<void>): Promise<boolean> {
    this.#requireOff('bring it back from the recovery site');
    const { failback } = this.state.current;
    if (failback?.epoch === epoch) return false;
    if (failback && failback.epoch > epoch) {
      throw new CatalogueError('StaleEpoch', `${this.vm} is being brought back in epoch ${failback.epoch}`);
    }
    await this.discard(epoch, putDown);
    return true;
  }

  /**
   * Creates the layers; the disks are open. @param tracking what was tracked until now; it proves that nothing has
   * changed the originals since the VM was shut down.
   */
  async begin(epoch: number, tracking: TrackingState | undefined, quietly: Quietly): Promise<void> {
    if (this.state.current.failback?.epoch !== epoch) {
      const files = await this.#files();
      const original = tracking && tracking.resyncCause === undefined ? originalOf(tracking) : undefined;
      await this.state.change((state) => ({
        ...state,
        failback: { epoch, phase: 'receiving', files, ...(original && { original }) },
      }));
    }
    await quietly(() => this.disks.takeSnapshot());
  }

  /** Serves the layers for a change set; the disks are open and stay open. */
  async serve(fence: Fence): Promise<ServedLayers | undefined> {
    this.#requireOff('receive its changes');
    const failback = this.#ofEpoch(fence.epoch);
    if (failback.received !== undefined && fence.sequence <= failback.received) return undefined;
    const next = (failback.received ?? -1) + 1;
    if (fence.sequence !== next) {
      throw new CatalogueError(
        'OutOfSequence',
        `${this.vm}: asked to receive ${formatFence(fence)}, but the next change set is ${next}`,
      );
    }
    await this.requireOriginals();
    await this.close();
    this.#served += 1;
    const served = [...this.disks.replicatedTops].map(([name, disk]) => {
      const exportName = `${this.vm}/failback-${fence.epoch}-${fence.sequence}-${this.#served}/${name}`;
      this.server.addExport(exportName, exportOf(disk));
      this.#exports.push(exportName);
      return [name, this.server.uri(exportName)] as const;
    });
    return Object.fromEntries(served);
  }

  /**
   * Layers are useless above any other content than that for which they were made.
   * @throws CatalogueError BrokenChain if a layer is missing, or an original disk was changed.
   */
  async requireOriginals(): Promise<void> {
    const { failback } = this.state.current;
    if (failback?.phase !== 'receiving') return;
    if (this.disks.snapshots !== this.disks.replicated) {
      throw new CatalogueError('BrokenChain', `${this.vm}: a layer of its failback is missing`);
    }
    const files = await this.#files();
    const changed = this.disks.all.findIndex((_, index) => files[index] !== failback.files[index]);
    if (changed < 0) return;
    throw new CatalogueError(
      'BrokenChain',
      `${this.vm}: ${this.disks.all[changed]!.path} was changed while the VM was being brought back above it`,
    );
  }

  /** Everything written is durable, and the layers hold the change set. The disks are open. */
  async complete(fence: Fence): Promise<void> {
    this.#requireOff('receive its changes');
    const { received } = this.#ofEpoch(fence.epoch);
    if (received !== undefined && fence.sequence <= received) return;
    await this.close();
    for (const disk of this.disks.replicatedTops.values()) await disk.flush();
    await this.state.change((state) => ({
      ...state,
      failback: { ...state.failback!, received: fence.sequence },
    }));
  }

  async commit(epoch: number): Promise<void> {
    const { failback } = this.state.current;
    // Merged already.
    if (!failback) return;
    if (failback.epoch > epoch || failback.phase === 'discarding') this.#ofEpoch(epoch);
    if (failback.phase === 'committed') return;
    await this.state.change((state) => ({ ...state, failback: { ...failback, phase: 'committed' } }));
  }

  /** Deletes the layers of this epoch and older ones. @param putDown closes the disks. */
  async discard(epoch: number, putDown: () => Promise<void>): Promise<void> {
    const { failback } = this.state.current;
    if (!failback || failback.epoch > epoch) return;
    if (failback.phase === 'committed') {
      throw new CatalogueError('InvalidVmState', `${this.vm}: its failback is committed and can't be discarded`);
    }
    this.#requireOff('discard the changes it was brought back with');
    await this.close();
    await this.state.change((state) => ({ ...state, failback: { ...failback, phase: 'discarding' } }));
    await putDown();
    await this.finishDiscarding();
  }

  /** Deletes the files of layers that are to be discarded. Also after a restart, before the disks are opened. */
  async finishDiscarding(): Promise<void> {
    if (this.state.failure || this.state.current.failback?.phase !== 'discarding') return;
    await this.disks.discardOverlays();
    await this.state.change(({ failback: _, ...state }) => state);
  }

  /** Stops serving the layers, with no write in flight. */
  async close(): Promise<void> {
    const names = this.#exports;
    this.#exports = [];
    await Promise.all(names.map((name) => this.server.removeExport(name)));
  }

  #requireOff(what: string): void {
    if (this.state.current.power === 'Off') return;
    throw new CatalogueError('InvalidVmState', `${this.vm} is running; it must be off to ${what}`);
  }

  async #files(): Promise<(string | null)[]> {
    const found = await this.disks.identify();
    return found.map((identity) => (identity ? `${identity.mtimeNs}:${identity.size}` : null));
  }

  #ofEpoch(epoch: number) {
    const { failback } = this.state.current;
    if (failback?.epoch === epoch && failback.phase !== 'discarding') return failback;
    const found = failback ? `it has those of epoch ${failback.epoch}` : 'it has none';
    throw new CatalogueError('InvalidVmState', `${this.vm} has no failback layers of epoch ${epoch}; ${found}`);
  }
}

const originalOf = ({ epoch, lastWrites }: TrackingState) => ({
  epoch,
  lastWrites: Object.entries(lastWrites).map(([name, lastWrite]) => ({ name, lastWrite })),
});
