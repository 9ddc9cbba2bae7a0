/**
 * The test VMs of the embedded recovery compute: made from recovery points like replica VMs, in a folder of their own.
 * Their guests have networks that no other guest is connected to.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Mutex } from '../../concurrency/mutex.js';
import { CatalogueError } from '../../domain/errors.js';
import { nameSchema } from '../../domain/ids.js';
import type { DirectBoot } from '../../domain/site.js';
import type { VmFiles } from '../../ports/vm-files.js';
import type { RunInGuest, TestVm, TestVmSpec } from '../../ports/test-vms.js';
import { EmbeddedVm, type VmEnvironment } from './embedded-vm.js';
import { GuestAgentError } from './guest-agent.js';
import type { HypervisorLog } from './hypervisor.js';
import { createReplicaDisk, type PointDisks } from './replica-disk.js';
import { replicaVmSpecSchema } from './replica-vm-spec.js';
import { folderFiles, removeUnfinished } from './vm-files.js';
import { deleteVmFolder, disksAbove, makeVmFolder, openVmFolders } from './vm-folder.js';
import { readJson, VmStateFile, writeJson } from './vm-state-file.js';

/** As much of a guest's console as is read. */
const CONSOLE_BYTES = 64 * 1024;

export const testVmSpecSchema = replicaVmSpecSchema.extend({ name: nameSchema });

interface LoadedTestVm {
  readonly spec: TestVmSpec;
  readonly vm: EmbeddedVm;
}

export class EmbeddedTestVms {
  readonly #vms = new Map<string, LoadedTestVm>();
  /** Test VMs whose specification can't be used; they can only be deleted. */
  readonly #refused = new Set<string>();
  /** Creations and deletions run one at a time. */
  readonly #turn = new Mutex();
  readonly #environment: VmEnvironment;

  /** @param isTaken whether a replica VM has this name. */
  constructor(
    private readonly folder: string,
    private readonly store: { readonly disks: PointDisks },
    environment: VmEnvironment,
    private readonly directBoots: Readonly<Record<string, DirectBoot>>,
    private readonly isTaken: (name: string) => boolean,
  ) {
    const { guests } = environment;
    // Another scope, so that no network of the recovery site can have the same name.
    const isolated = guests && { ...guests, networkScope: `${guests.networkScope}/test` };
    this.#environment = { ...environment, guests: isolated };
  }

  /** Test VMs that were running are started again. */
  async load(log: HypervisorLog): Promise<void> {
    for (const name of await openVmFolders(this.folder)) {
      try {
        await this.#load(name);
      } catch (error) {
        this.#refused.add(name);
        log.warn(`the test VM ${name} can't be loaded; clean it up`, error);
      }
    }
  }

  has(name: string): boolean {
    return this.#vms.has(name) || this.#refused.has(name);
  }

  list(): TestVm[] {
    return [...this.#vms.values()].map(describe);
  }

  create(spec: TestVmSpec): Promise<void> {
    return this.#turn.run(async () => {
      const { name } = spec;
      const found = this.#vms.get(name);
      if (found && isDeepStrictEqual(found.spec, spec)) return;
      if (this.has(name)) throw new CatalogueError('InvalidVmState', `there is another test VM ${name}; clean it up`);
      if (this.isTaken(name)) throw new CatalogueError('InvalidVmState', `the name ${name} is taken by a replica VM`);
      const folder = await makeVmFolder(this.folder, name);
      for (const { path, size, point } of disksAbove(folder, spec, this.store.disks)) {
        await createReplicaDisk(path, size, point, this.store.disks);
      }
      const state = await VmStateFile.open(name, join(folder, 'state.json'));
      await state.change((current) => ({ ...current, power: 'Off' }));
      await writeJson(join(folder, 'spec.json'), spec);
      await this.#load(name);
    });
  }

  async start(name: string): Promise<TestVm> {
    const found = this.#find(name);
    await found.vm.start(found.spec.epoch);
    return describe(found);
  }

  async turnOff(name: string): Promise<void> {
    await this.#find(name).vm.turnOff();
  }

  async console(name: string): Promise<Buffer> {
    return (await this.#find(name).vm.guest?.console(CONSOLE_BYTES)) ?? Buffer.alloc(0);
  }

  async screen(name: string): Promise<Buffer | undefined> {
    return this.#find(name).vm.guest?.screen();
  }

  async run(name: string, command: readonly string[], limitMs: number): Promise<RunInGuest> {
    const { guest } = this.#find(name).vm;
    if (!guest?.state.booted) return { problem: 'its guest is not booted' };
    try {
      return await guest.run(command, limitMs);
    } catch (error) {
      if (error instanceof GuestAgentError) return { problem: error.message };
      throw error;
    }
  }

  delete(name: string): Promise<void> {
    return this.#turn.run(async () => {
      if (!this.has(name)) return;
      const found = this.#vms.get(name);
      if (found?.vm.describe().state === 'Running') await found.vm.turnOff();
      await found?.vm.close();
      this.#vms.delete(name);
      this.#refused.delete(name);
      await deleteVmFolder(this.folder, name);
    });
  }

  files(): Promise<VmFiles[]> {
    return this.#turn.run(() => folderFiles(this.folder, 'testVmFolder', (name) => this.has(name)));
  }

  removeUnfinished(name: string): Promise<void> {
    return this.#turn.run(() => removeUnfinished(this.folder, name, (one) => this.has(one)));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#vms.values()].map(({ vm }) => vm.close()));
  }

  /** A folder without a specification was left by an attempt that died; the next one replaces it. */
  async #load(name: string): Promise<void> {
    const folder = join(this.folder, name);
    const spec = await readJson(join(folder, 'spec.json'), testVmSpecSchema);
    if (!spec) return;
    const state = await VmStateFile.open(name, join(folder, 'state.json'));
    const { hardware, vm: testOf } = spec.description;
    const networks = Object.fromEntries((hardware?.networkAdapters ?? []).map((adapter) => [adapter.name, name]));
    // The dot keeps this folder from having the name of a disk.
    const guestFolder = join(folder, '.guest');
    const settings = { hardware, directBoot: this.directBoots[testOf], networks, guestFolder };
    const disks = disksAbove(folder, spec, this.store.disks);
    this.#vms.set(name, { spec, vm: await EmbeddedVm.load(name, disks, state, this.#environment, settings) });
  }

  #find(name: string): LoadedTestVm {
    const found = this.#vms.get(name);
    if (found) return found;
    throw new CatalogueError(this.#refused.has(name) ? 'InvalidVmState' : 'VmNotFound', `the test VM ${name}`);
  }
}

const describe = ({ spec, vm }: LoadedTestVm): TestVm => ({ ...vm.describe(), testOf: spec.description.vm });
