/**
 * The embedded hypervisor of one host: the VMs of its configuration, each disk offered over NBD, tracked above its
 * chain. What it knows between two lives is in its state folder and beside the disks.
 */
import { mkdir, readFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Cut, CutIdentity, CutOptions } from '../../ports/change-source.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { ShutDownResult } from '../../ports/hypervisor.js';
import { diskFile } from './vm-chain.js';
import { NBD_SOCKET_NAME, type HypervisorConfig } from './hypervisor-config.js';
import { lockStateFolder, VmStateFile } from './vm-state-file.js';
import { EmbeddedVm, type VmEnvironment } from './embedded-vm.js';
import { NbdServer } from '../nbd/nbd-server.js';

export interface HypervisorLog {
  warn(message: string, error: unknown): void;
}

/** Where the base of a VM snapshot is to be read from. */
export interface SnapshotFile {
  readonly path: string;
  readonly format: string;
  readonly size: number;
  /** Which file it has to be, as `fileKey` tells. Left out while the VM is off. */
  readonly file?: string;
}

/** What VMs of either role stand on; held by one process at a time. */
export class HypervisorFloor {
  private constructor(
    readonly environment: VmEnvironment,
    private readonly lock: FileHandle,
  ) {}

  /** @throws CatalogueError InvalidVmState when another process has the state folder. */
  static async open(config: HypervisorConfig, log: HypervisorLog): Promise<HypervisorFloor> {
    const lock = await lockStateFolder(config.stateFolder);
    try {
      await mkdir(config.nbdSocketFolder, { recursive: true, mode: 0o700 });
      const report = (error: unknown) => log.warn('a request of a guest failed', error);
      const server = await NbdServer.listen({ socketPath: join(config.nbdSocketFolder, NBD_SOCKET_NAME) }, { report });
      const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
      const freeSpaceFloor = config.freeSpaceFloorBytes;
      const environment = { server, bootId, freeSpaceFloor, warn: log.warn.bind(log) };
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

export class EmbeddedHypervisor {
  private constructor(
    private readonly floor: HypervisorFloor,
    private readonly vms: ReadonlyMap<string, EmbeddedVm>,
  ) {}

  static async open(config: HypervisorConfig, log: HypervisorLog): Promise<EmbeddedHypervisor> {
    const floor = await HypervisorFloor.open(config, log);
    const vms = new Map<string, EmbeddedVm>();
    try {
      for (const { name, disks, guestAgent, hardware } of config.vms) {
        const state = await VmStateFile.open(name, join(config.stateFolder, `${name}.json`));
        const files = disks.map(diskFile);
        vms.set(name, await EmbeddedVm.load(name, files, state, floor.environment, { guestAgent, hardware }));
      }
      return new EmbeddedHypervisor(floor, vms);
    } catch (error) {
      await floor.close();
      throw error;
    }
  }

  listVms(): HypervisorVm[] {
    return [...this.vms.values()].map((vm) => vm.describe());
  }

  async describeVm(vm: string): Promise<HypervisorVm> {
    return this.#vm(vm).describeNow();
  }

  startVm(vm: string, epoch: number): Promise<void> {
    return this.#vm(vm).start(epoch);
  }

  shutDownVm(vm: string): Promise<ShutDownResult> {
    return this.#vm(vm).shutDown();
  }

  turnOffVm(vm: string): Promise<void> {
    return this.#vm(vm).turnOff();
  }

  fenceVm(vm: string, epoch: number): Promise<void> {
    return this.#vm(vm).fence(epoch);
  }

  beginReplication(vm: string, epoch: number): Promise<void> {
    return this.#vm(vm).beginReplication(epoch);
  }

  endReplication(vm: string): Promise<void> {
    return this.#vm(vm).endReplication();
  }

  async snapshotFile(vm: string, epoch: number, disk: string): Promise<SnapshotFile> {
    const file = await this.#vm(vm).checkSnapshot(epoch, disk);
    const found = this.#vm(vm)
      .describe()
      .disks.find(({ name, excluded }) => name === disk && !excluded);
    // It had when the snapshot was taken: what is copied from it is of another set of disks.
    if (!found) throw new CatalogueError('ResyncRequired', `${vm} has no disk ${disk} any more`);
    return { path: found.path, format: found.format, size: found.size, ...(file !== undefined && { file }) };
  }

  mergeSnapshot(vm: string): Promise<number> {
    return this.#vm(vm).mergeSnapshot();
  }

  cut(vm: string, fence: Fence, options: CutOptions): Promise<Cut> {
    return this.#vm(vm).cut(fence, options);
  }

  snapshotAndCut(vm: string, fence: Fence): Promise<Cut> {
    return this.#vm(vm).snapshotAndCut(fence);
  }

  releaseCuts(upTo: CutIdentity): Promise<void> {
    return this.#vm(upTo.vm).releaseCuts(upTo);
  }

  /** Finishes what is in flight, flushes, lets go. VMs that run now will run again. */
  async close(): Promise<void> {
    await Promise.all([...this.vms.values()].map((vm) => vm.close()));
    await this.floor.close();
  }

  #vm(name: string): EmbeddedVm {
    const vm = this.vms.get(name);
    if (!vm) throw new CatalogueError('VmNotFound', name);
    return vm;
  }
}
