/**
 * Embedded compute at the recovery site: replica VMs made from recovery points of the store. A VM is a folder with its
 * specification, its state, and for each disk an overlay above the recovery point, which stays unchanged in the store.
 * Change logs and the overlays of VM snapshots lie beside the disk overlays.
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { diskError } from '../../disks/disk-errors.js';
import { syncFolder } from '../../disks/sync-folder.js';
import type { DirectBoot } from '../../domain/site.js';
import { CatalogueError } from '../../domain/errors.js';
import { nameSchema } from '../../domain/ids.js';
import { replicaDescriptionSchema, vaultPaths } from '../../domain/vault.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { ReplicaVmSpec, WhichVm } from '../../ports/recovery-compute.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import type { DiskOfVm } from './vm-chain.js';
import type { HypervisorConfig } from './hypervisor-config.js';
import { HypervisorFloor, type HypervisorLog } from './hypervisor.js';
import { readJson, VmStateFile, writeJson } from './vm-state-file.js';
import { EmbeddedChanges, type SnapshotFile } from './embedded-changes.js';
import { EmbeddedVm } from './embedded-vm.js';
import { createReplicaDisk, openReplicaDisk, type PointDisk } from './replica-disk.js';
import type { WrittenPage } from './vm-disks.js';
import { Mutex } from '../../concurrency/mutex.js';

export const pointDiskSchema = z.object({
  replica: z.object({ vm: nameSchema, disk: nameSchema }),
  snapshot: z.string().min(1),
});

export const replicaVmSpecSchema = z.object({
  description: replicaDescriptionSchema,
  epoch: z.int().min(0),
  disks: z
    .array(z.object({ name: nameSchema, ...pointDiskSchema.shape }))
    .min(1)
    .readonly(),
});

/** Prefix of a folder being deleted: it is renamed in one step and then removed, however long that takes. */
const DELETED_PREFIX = '.deleted-';

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
    const compute = new EmbeddedRecoveryCompute(folder, store, floor, config.recovery?.directBoots ?? {});
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      for (const entry of await readdir(folder, { withFileTypes: true })) {
        const { name } = entry;
        if (name.startsWith(DELETED_PREFIX)) await rm(join(folder, name), { recursive: true, force: true });
        else if (entry.isDirectory()) await compute.#loadOrRefuse(name, log);
      }
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
      const found = this.#vms.get(name);
      if (found) {
        if (isDeepStrictEqual(found.spec, spec)) return;
        throw new CatalogueError('InvalidVmState', `${name} already exists, made from other disks`);
      }
      await this.#checkFence(name, spec.epoch);
      // A folder that is not a loaded VM was left by an attempt that died.
      const folder = join(this.folder, name);
      try {
        await rm(folder, { recursive: true, force: true });
        await mkdir(folder, { mode: 0o700 });
        await syncFolder(this.folder);
      } catch (error) {
        throw diskError(error, folder, 'write');
      }
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

  override async snapshotFile(name: string, epoch: number, disk: string): Promise<SnapshotFile> {
    const file = await super.snapshotFile(name, epoch, disk);
    const { replica, snapshot } = this.#find(name).spec.disks.find((each) => each.name === disk)!;
    return { ...file, point: { replica, snapshot } };
  }

  /** One page of `RecoveryCompute.listWritten`. @param from offset of the page. */
  async writtenFrom(name: string, disk: string, from: number): Promise<WrittenPage> {
    return this.vm(name).writtenFrom(disk, from);
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
      const deleted = join(this.folder, `${DELETED_PREFIX}${name}`);
      try {
        await rm(deleted, { recursive: true, force: true });
        await rename(join(this.folder, name), deleted);
        await syncFolder(this.folder);
        await rm(deleted, { recursive: true, force: true });
      } catch (error) {
        throw diskError(error, deleted, 'write');
      }
    });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#vms.values()].map(({ vm }) => vm.close()));
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

  #disks(spec: ReplicaVmSpec): (DiskOfVm & { readonly size: number; readonly point: PointDisk })[] {
    return spec.disks.map(({ name, replica, snapshot }) => {
      const described = spec.description.disks.find((disk) => disk.name === name);
      if (!described) throw new CatalogueError('InvalidReplicaState', `${spec.description.vm} has no disk ${name}`);
      const file = join(this.folder, spec.description.vm, name);
      const [path, { size }, point] = [`${file}.avhd`, described, { replica, snapshot }];
      const openBase = () => openReplicaDisk(path, size, point, this.store.disks);
      return { name, path, overlay: `${file}.snapshot`, format: 'overlay', size, point, openBase };
    });
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
