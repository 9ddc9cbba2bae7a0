/**
 * Embedded compute at the recovery site: replica VMs made from recovery points of the store. A VM is a folder with its
 * specification, its state, and for each disk an overlay above the recovery point, which stays unchanged in the store.
 * Change logs and the overlays of VM snapshots lie beside the disk overlays.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { DirectBoot } from '../../domain/site.js';
import { CatalogueError } from '../../domain/errors.js';
import { vaultPaths } from '../../domain/vault.js';
import type { WrittenState } from '../../ports/change-source.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { ShutDownResult } from '../../ports/hypervisor.js';
import type { ReplicaVmSpec, WhichVm } from '../../ports/recovery-compute.js';
import type { VmFileKind, VmFiles } from '../../ports/vm-files.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import type { HypervisorConfig } from './hypervisor-config.js';
import { HypervisorFloor, type HypervisorLog } from './hypervisor.js';
import { readJson, VmStateFile, writeJson } from './vm-state-file.js';
import { EmbeddedChanges, type SnapshotFile } from './embedded-changes.js';
import { EmbeddedVm } from './embedded-vm.js';
import { createReplicaDisk } from './replica-disk.js';
import { replicaVmSpecSchema } from './replica-vm-spec.js';
import { EmbeddedTestVms } from './test-vms.js';
import type { WrittenPage } from './vm-disks.js';
import { folderFiles, inUse, removeUnfinished } from './vm-files.js';
import { deleteVmFolder, disksAbove, makeVmFolder, openVmFolders, type DiskAbovePoint } from './vm-folder.js';
import { Mutex } from '../../concurrency/mutex.js';

interface ReplicaVm {
  readonly spec: ReplicaVmSpec;
  readonly vm: EmbeddedVm;
}

export class EmbeddedRecoveryCompute extends EmbeddedChanges {
  readonly #vms = new Map<string, ReplicaVm>();
  /**
   * VMs whose specification can't be used, with the reason. Their folders are kept, because they hold what the guests
   * wrote.
   */
  readonly #refused = new Map<string, CatalogueError>();
  /** Creations and deletions run one at a time. */
  readonly #turn = new Mutex();

  private constructor(
    private readonly folder: string,
    private readonly store: ReplicaStore,
    private readonly floor: HypervisorFloor,
    private readonly directBoots: Readonly<Record<string, DirectBoot>>,
    readonly testVms: EmbeddedTestVms,
  ) {
    super();
  }

  /** VMs that were running are started again. @param store closed by the caller, not by this class. */
  static async open(
    config: HypervisorConfig,
    store: ReplicaStore,
    log: HypervisorLog,
  ): Promise<EmbeddedRecoveryCompute> {
    const floor = await HypervisorFloor.open(config, log);
    const folder = join(config.stateFolder, 'vms');
    const directBoots = config.recovery?.directBoots ?? {};
    const isTaken = (name: string) => compute.#has(name);
    const { environment } = floor;
    const testFolder = join(config.stateFolder, 'test-vms');
    const testVms = new EmbeddedTestVms(testFolder, store, environment, directBoots, isTaken);
    const compute = new EmbeddedRecoveryCompute(folder, store, floor, directBoots, testVms);
    try {
      for (const name of await openVmFolders(folder)) await compute.#loadOrRefuse(name, log);
      await testVms.load(log);
      return compute;
    } catch (error) {
      await floor.close();
      throw error;
    }
  }

  override listVms(): HypervisorVm[] {
    const refused = [...this.#refused].map(([name, failure]) => describeRefused(name, failure));
    return [...[...this.#vms.values()].map(({ vm }) => vm.describe()), ...refused];
  }

  override async describeVm(name: string): Promise<HypervisorVm> {
    const refused = this.#refused.get(name);
    return refused ? describeRefused(name, refused) : super.describeVm(name);
  }

  createVm(spec: ReplicaVmSpec): Promise<void> {
    return this.#turn.run(async () => {
      const name = spec.description.vm;
      this.#checkRefused(name);
      if (this.testVms.has(name))
        throw new CatalogueError('InvalidVmState', `the name ${name} is taken by a test VM; clean it up first`);
      const found = this.#vms.get(name);
      if (found) {
        if (isDeepStrictEqual(found.spec, spec)) return;
        throw new CatalogueError('InvalidVmState', `${name} already exists, made from other disks`);
      }
      await this.#checkFence(name, spec.epoch);
      const folder = await makeVmFolder(this.folder, name);
      for (const { path, size, point } of this.#disks(spec)) {
        await createReplicaDisk(path, size, point, this.store.disks);
      }
      const state = await VmStateFile.open(name, join(folder, 'state.json'));
      await state.change((current) => ({ ...current, power: 'Off' }));
      await writeJson(join(folder, 'spec.json'), spec);
      await this.#load(name);
    });
  }

  async startVm(name: string, epoch: number): Promise<HypervisorVm> {
    const found = this.#find(name);
    await this.#checkEpoch(found, epoch);
    await found.vm.start(epoch);
    return found.vm.describe();
  }

  override async beginReplication(name: string, epoch: number): Promise<void> {
    await this.#checkEpoch(this.#find(name), epoch);
    await super.beginReplication(name, epoch);
  }

  override async continueReplication(name: string, epoch: number, unchangedSince: WrittenState): Promise<void> {
    await this.#checkEpoch(this.#find(name), epoch);
    await super.continueReplication(name, epoch, unchangedSince);
  }

  override async snapshotFile(name: string, epoch: number, disk: string): Promise<SnapshotFile> {
    const file = await super.snapshotFile(name, epoch, disk);
    const { replica, snapshot } = this.#find(name).spec.disks.find((each) => each.name === disk)!;
    return { ...file, point: { replica, snapshot } };
  }

  /** One page of `RecoveryCompute.listWritten`. @param from offset of the page. */
  async writtenFrom(name: string, disk: string, from: number, ofSnapshot = false): Promise<WrittenPage> {
    return this.vm(name).writtenFrom(disk, from, ofSnapshot);
  }

  async shutDownVm(name: string): Promise<ShutDownResult> {
    return this.vm(name).shutDown();
  }

  async turnOffVm(name: string, which: WhichVm = {}): Promise<void> {
    const found = this.#find(name);
    if (isMeant(found, which)) await found.vm.turnOff();
  }

  /** Has no effect if the VM is already deleted. */
  deleteVm(name: string, which: WhichVm = {}): Promise<void> {
    return this.#turn.run(async () => {
      const found = this.#vms.get(name);
      if (!found && !this.#refused.has(name)) return;
      if (found && !isMeant(found, which)) return;
      if (found?.vm.describe().state === 'Running') await found.vm.turnOff();
      await found?.vm.close();
      this.#vms.delete(name);
      this.#refused.delete(name);
      await deleteVmFolder(this.folder, name);
    });
  }

  async listFiles(): Promise<VmFiles[]> {
    const own = await this.#turn.run(() => folderFiles(this.folder, 'vmFolder', (name) => this.#has(name)));
    return [...own, ...(await this.testVms.files())];
  }

  async removeFiles(kind: VmFileKind, vm: string): Promise<void> {
    if (kind !== 'unfinished') throw inUse(kind, vm);
    await this.#turn.run(() => removeUnfinished(this.folder, vm, (name) => this.#has(name)));
    await this.testVms.removeUnfinished(vm);
  }

  async close(): Promise<void> {
    await Promise.all([...[...this.#vms.values()].map(({ vm }) => vm.close()), this.testVms.close()]);
    await this.floor.close();
  }

  /** Refuses a VM that can't be loaded; the other VMs run. */
  async #loadOrRefuse(name: string, log: HypervisorLog): Promise<void> {
    try {
      await this.#load(name);
    } catch (error) {
      const remedy = 'Put the file back from a copy and restart recovery compute; or delete the replica VM';
      const detail = `${name} can't be loaded: ${(error as Error).message}. ${remedy}`;
      this.#refused.set(name, new CatalogueError('InvalidVmState', detail, { cause: error }));
      log.warn(`${name} is refused`, error);
    }
  }

  #has(name: string): boolean {
    return this.#vms.has(name) || this.#refused.has(name);
  }

  #checkRefused(name: string): void {
    const refused = this.#refused.get(name);
    if (refused) throw refused;
  }

  async #load(name: string): Promise<void> {
    const folder = join(this.folder, name);
    const spec = await readJson(join(folder, 'spec.json'), replicaVmSpecSchema);
    if (!spec) return;
    const state = await VmStateFile.open(name, join(folder, 'state.json'));
    const { hardware } = spec.description;
    // The dot keeps this folder from having the name of a disk.
    const networks = Object.fromEntries(spec.description.networkAdapters.map(({ name, network }) => [name, network]));
    const settings = { hardware, directBoot: this.directBoots[name], networks, guestFolder: join(folder, '.guest') };
    const vm = await EmbeddedVm.load(name, this.#disks(spec), state, this.floor.environment, settings);
    this.#vms.set(name, { spec, vm });
  }

  #disks(spec: ReplicaVmSpec): DiskAbovePoint[] {
    return disksAbove(join(this.folder, spec.description.vm), spec, this.store.disks);
  }

  async #checkEpoch({ vm, spec }: ReplicaVm, epoch: number): Promise<void> {
    if (epoch < spec.epoch) {
      const detail = `${vm.name} was made for epoch ${spec.epoch}, but the request has epoch ${epoch}`;
      throw new CatalogueError('StaleEpoch', detail);
    }
    await this.#checkFence(vm.name, epoch);
  }

  async #checkFence(name: string, epoch: number): Promise<void> {
    const fence = await this.store.objects.readFence(vaultPaths.vm(name));
    if (epoch >= fence.epoch) return;
    throw new CatalogueError(
      'StaleEpoch',
      `the store is fenced for ${name} by epoch ${fence.epoch}, but the request has epoch ${epoch}`,
    );
  }

  protected override vm(name: string): EmbeddedVm {
    return this.#find(name).vm;
  }

  #find(name: string): ReplicaVm {
    this.#checkRefused(name);
    const found = this.#vms.get(name);
    if (!found) throw new CatalogueError('VmNotFound', name);
    return found;
  }
}

const isMeant = ({ spec }: ReplicaVm, { madeBefore = Infinity }: WhichVm): boolean => spec.epoch < madeBefore;

const describeRefused = (name: string, { code, detail }: CatalogueError): HypervisorVm => ({
  ...{ name, state: 'Off', disks: [], fencing: 'enforced', failure: { code, detail } },
});
