/**
 * Another vault on the same Temporal, with a host, a VMM server and a VM of the same names: nothing of it may reach the
 * first one, nor the other way round. It has no faults of its own but those of the Temporal they share.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { toMs } from '../../domain/time.js';
import { exportFromVault, readVault } from '../../local/local-vault.js';
import { OrderedGuest } from '../faults/ordered-guest.js';
import { checkPrefix, withFiles } from '../faults/prefix-check.js';
import { SmallSite } from '../faults/small-site.js';

const MiB = 1024 * 1024;
const DISKS = ['os', 'data'];

interface NeighbourOptions {
  /** A VM that the first vault has as well. */
  readonly vm: string;
  readonly seed: number;
  find(what: string): void;
}

export class Neighbour {
  private constructor(
    private readonly site: SmallSite,
    private readonly guest: OrderedGuest,
    private readonly options: NeighbourOptions,
  ) {}

  static async start(folder: string, first: SmallSite, options: NeighbourOptions): Promise<Neighbour> {
    await mkdir(path.join(folder, 'source'), { recursive: true });
    const { vm } = options;
    const site = await SmallSite.start(folder, 'source', {
      ...{ vault: 'vault-02', vms: [vm], disks: DISKS, dataBytes: MiB, copyFrequency: '30s' },
      temporal: first.running.instance.temporal.address,
    });
    const guest = new OrderedGuest({
      ...{ vm, disks: DISKS, region: { offset: MiB, length: 2 * MiB }, pauseMs: 50 },
      urisOf: () => site.diskUris(vm),
    });
    guest.start();
    await site.farshore.protect(vm);
    return new Neighbour(site, guest, options);
  }

  /** Is its replica its VM's, and is every point a state of it? */
  async check(): Promise<void> {
    const { site, guest } = this;
    const { vm, find } = this.options;
    const address = { kind: 'embedded', path: path.join(site.folder, 'store') } as const;
    await site.syncNow(vm);
    const { vms } = await readVault(address);
    const points = vms.find((each) => each.vm === vm)?.points ?? [];
    if (points.length === 0) find(`the neighbour's ${vm} has no recovery points`);
    for (const { id, time } of points.slice(-5)) {
      const folder = path.join(site.folder, 'exported', id);
      await mkdir(path.dirname(folder), { recursive: true });
      await exportFromVault(address, { vm, wanted: id, folder, onDisk: () => undefined });
      const files = DISKS.map((disk) => path.join(folder, `${disk}.vhd`));
      const { faults } = await withFiles(files, (sources) => checkPrefix(guest, sources, toMs(time)));
      for (const fault of faults) find(`the neighbour's ${vm}, recovery point ${id}: ${fault}`);
    }
  }

  async stop(): Promise<void> {
    await this.guest.stop().catch((error: unknown) => this.options.find((error as Error).message));
    await this.site.stop();
  }
}
