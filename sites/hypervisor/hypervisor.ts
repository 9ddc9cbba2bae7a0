/**
 * The embedded hypervisor of one host: it runs the VMs of its configuration, and offers each disk over NBD, with a
 * tracker above the disk's chain. Between two runs it keeps its state in its state folder and beside the disks.
 */
import { mkdir, readFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { FailbackState } from '../../ports/failback-target.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { VmFileKind, VmFiles } from '../../ports/vm-files.js';
import type { ShutDownResult } from '../../ports/hypervisor.js';
import { diskFile } from './vm-chain.js';
import { NBD_SOCKET_NAME, type HypervisorConfig } from './hypervisor-config.js';
import { lockStateFolder, VmStateFile } from './vm-state-file.js';
import { EmbeddedChanges } from './embedded-changes.js';
import { EmbeddedVm, type VmEnvironment } from './embedded-vm.js';
import { hypervisorFiles, removeHypervisorFiles, type FilesOf } from './vm-files.js';
import type { ServedLayers } from './vm-failback.js';
import { NbdServer } from '../nbd/nbd-server.js';

export interface HypervisorLog {
  warn(message: string, error: unknown): void;
}

/** The resources that VMs at either site share. Only one process at a time may hold them. */
export class HypervisorFloor {
  private constructor(
    readonly environment: VmEnvironment,
    private readonly lock: FileHandle,
  ) {}

  /** @throws CatalogueError InvalidVmState if another process uses the state folder. */
  static async open(config: HypervisorConfig, log: HypervisorLog): Promise<HypervisorFloor> {
    const lock = await lockStateFolder(config.stateFolder);
    try {
      await mkdir(config.nbdSocketFolder, { recursive: true, mode: 0o700 });
      const report = (error: unknown) => log.warn('a request of a guest failed', error);
      const server = await NbdServer.listen({ socketPath: join(config.nbdSocketFolder, NBD_SOCKET_NAME) }, { report });
      const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
      const freeSpaceFloor = config.freeSpaceFloorBytes;
      const guests = config.guests && { ...config.guests, socketFolder: config.nbdSocketFolder };
      const environment = { server, bootId, freeSpaceFloor, warn: log.warn.bind(log), guests };
      return new HypervisorFloor(environment, lock);
    } catch (error) {
      await lock.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.environment.server.close();
    await this.lock.close();
  }
}

export class EmbeddedHypervisor extends EmbeddedChanges {
  private constructor(
    private readonly floor: HypervisorFloor,
    private readonly vms: ReadonlyMap<string, EmbeddedVm>,
    private readonly stateFolder: string,
  ) {
    super();
  }

  static async open(config: HypervisorConfig, log: HypervisorLog): Promise<EmbeddedHypervisor> {
    const floor = await HypervisorFloor.open(config, log);
    const vms = new Map<string, EmbeddedVm>();
    try {
      for (const { name, disks, ...settings } of config.vms) {
        const state = await VmStateFile.open(name, join(config.stateFolder, `${name}.json`));
        const files = disks.map(diskFile);
        const guestFolder = join(config.stateFolder, 'guests', name);
        vms.set(name, await EmbeddedVm.load(name, files, state, floor.environment, { ...settings, guestFolder }));
      }
      return new EmbeddedHypervisor(floor, vms, config.stateFolder);
    } catch (error) {
      await floor.close();
      throw error;
    }
  }

  override listVms(): HypervisorVm[] {
    return [...this.vms.values()].map((vm) => vm.describe());
  }

  startVm(vm: string, epoch: number): Promise<void> {
    return this.vm(vm).start(epoch);
  }

  shutDownVm(vm: string): Promise<ShutDownResult> {
    return this.vm(vm).shutDown();
  }

  turnOffVm(vm: string): Promise<void> {
    return this.vm(vm).turnOff();
  }

  fenceVm(vm: string, epoch: number): Promise<void> {
    return this.vm(vm).fence(epoch);
  }

  async beginFailback(vm: string, epoch: number): Promise<FailbackState> {
    return this.vm(vm).beginFailback(epoch);
  }

  async serveFailback(vm: string, fence: Fence): Promise<ServedLayers | undefined> {
    return this.vm(vm).serveFailback(fence);
  }

  async completeFailback(vm: string, fence: Fence): Promise<void> {
    await this.vm(vm).completeFailback(fence);
  }

  async commitFailback(vm: string, epoch: number): Promise<void> {
    await this.vm(vm).commitFailback(epoch);
  }

  async discardFailback(vm: string, epoch: number): Promise<void> {
    await this.vm(vm).discardFailback(epoch);
  }

  listFiles(): Promise<VmFiles[]> {
    return hypervisorFiles(this.stateFolder, this.#filesOf());
  }

  removeFiles(kind: VmFileKind, vm: string): Promise<void> {
    return removeHypervisorFiles(this.stateFolder, this.#filesOf(), kind, vm);
  }

  #filesOf(): FilesOf[] {
    return this.listVms().map(({ name, disks, tracking }) => ({ name, disks, trackedEpoch: tracking?.epoch }));
  }

  /**
   * Finishes requests in flight, flushes, and closes the disks. VMs that are running start again with the next process.
   */
  async close(): Promise<void> {
    await Promise.all([...this.vms.values()].map((vm) => vm.close()));
    await this.floor.close();
  }

  protected override vm(name: string): EmbeddedVm {
    const vm = this.vms.get(name);
    if (!vm) throw new CatalogueError('VmNotFound', name);
    return vm;
  }
}
