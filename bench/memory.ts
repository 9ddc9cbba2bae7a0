/** How much memory the processes take at most while a VM is protected, and whether that grows with its disk. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Farshore } from '../client/farshore.js';
import { formatBytes } from '../domain/bytes.js';
import { HypervisorClient } from '../sites/embedded/control-client.js';
import { NbdGuest } from '../sites/embedded/guest.js';
import { DataFolder } from '../workers/data-folder.js';
import { loadSite } from '../workers/site-file.js';
import { startInstance, type RunningInstance } from '../workers/up.js';
import type { ProtectedItemView } from '../workflows/messages.js';
import { required, type Bench, type Outcome } from './figures.js';
import { createPartlyFilled } from './images.js';
import { withScratch } from './scratch.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const HOST = 'hyperv-01';
const VM = 'db-01';
const CYCLES = 3;
/** Bytes a guest writes into each cycle, at least. */
const CYCLE_BYTES = 64 * MiB;
const LIMIT_MIB = 300;
const PROCESSES = [
  { name: `host-${HOST}`, title: 'agent' },
  { name: `hypervisor-${HOST}`, title: 'hypervisor' },
  { name: 'azure-vault-01', title: 'Azure worker' },
] as const;

const disks = [
  { size: 1 * GiB, share: 0.5 },
  { size: 64 * GiB, share: 1 / 32 },
] as const;

export const memory: Bench = {
  name: 'memory',
  summary: 'peak memory of the processes that protect a VM with a disk of 1 GiB, and one of 64 GiB',
  run: async (say) => {
    const outcomes: Outcome[] = [];
    for (const disk of disks) {
      outcomes.push(...(await withScratch((folder) => measure(folder, disk.size, disk.share, say))));
    }
    return outcomes;
  },
};

async function measure(folder: string, size: number, share: number, say: (line: string) => void): Promise<Outcome[]> {
  const dataBytes = await createPartlyFilled(path.join(folder, 'os.img'), size, share);
  await writeFile(path.join(folder, 'site.yaml'), siteText);
  const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
  const data = new DataFolder(folder);
  const running = await startInstance({ data, site, onProgress: () => undefined });
  try {
    const { address, namespace } = running.instance.temporal;
    const farshore = await Farshore.connect({ site: site.site, address, namespace });
    const guest = await WritingGuest.start(new HypervisorClient(data.hypervisorControl(HOST)));
    try {
      say(`${formatBytes(size)}: initial copy`);
      await farshore.protect(VM);
      await until(farshore, ({ item }) => item.phase === 'Protected');
      for (let cycle = 1; cycle <= CYCLES; cycle += 1) {
        await guest.written(CYCLE_BYTES);
        const before = await until(farshore, ({ operations }) => operations.sync.allowed);
        const applied = before.item.applied?.sequence ?? 0;
        // Refused when a scheduled cycle has begun meanwhile, which does as well.
        await farshore.sync(VM).catch(() => undefined);
        await until(farshore, ({ item }) => (item.applied?.sequence ?? 0) > applied);
        say(`${formatBytes(size)}: cycle ${cycle} applied`);
      }
    } finally {
      await guest.stop();
      await farshore.close();
    }
    const what = `disk of ${formatBytes(size)} with ${formatBytes(dataBytes)} of data`;
    return await Promise.all(
      PROCESSES.map(async ({ name, title }) => ({
        name: `memory, peak of ${title}, ${what}`,
        unit: 'MiB' as const,
        samples: [await peakMiB(running, name)],
        targets: [required('at most', LIMIT_MIB)],
        details: [],
      })),
    );
  } finally {
    await running.stop();
  }
}

const siteText = `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: ${HOST} }] }] }
policies: [{ name: fast, copyFrequency: 30s }]
vms:
  - { name: ${VM}, host: ${HOST}, policy: fast, disks: [{ name: os, path: os.img }] }
`;

async function until(farshore: Farshore, reached: (view: ProtectedItemView) => boolean): Promise<ProtectedItemView> {
  for (;;) {
    const view = await farshore.protectedItem(VM);
    if (view?.item.resync !== undefined) throw new Error('a resynchronization was asked for');
    if (view && reached(view)) return view;
    await sleep(200);
  }
}

/** Writes without pause, some megabytes a second: large blocks in a row, and small ones anywhere. */
class WritingGuest {
  #bytes = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  private constructor(private readonly disk: NbdGuest) {
    this.#running = this.#run();
    this.#running.catch(() => undefined);
  }

  static async start(hypervisor: HypervisorClient): Promise<WritingGuest> {
    const { disks: found } = await hypervisor.describeVm(VM);
    return new WritingGuest(await NbdGuest.connect(found[0]!.nbdUri!));
  }

  /** Resolves when so many more bytes have been acknowledged. */
  async written(bytes: number): Promise<void> {
    const goal = this.#bytes + bytes;
    while (this.#bytes < goal) await Promise.race([sleep(50), this.#running]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    await this.disk.close();
  }

  async #run(): Promise<void> {
    const content = randomBytes(MiB);
    const small = 4 * KiB;
    // Round and round in a quarter of the smallest disk, so that its logs do not outgrow it.
    const region = 256 * MiB;
    for (let round = 0; !this.#stopped; round += 1) {
      const writes = [this.disk.write(content, (round * MiB) % region)];
      for (let place = 0; place < 16; place += 1) {
        const block = (round * 16 + place) * 7919;
        writes.push(this.disk.write(content.subarray(0, small), (block * small) % this.disk.size));
      }
      await Promise.all(writes);
      this.#bytes += MiB + 16 * small;
      await sleep(100);
    }
  }
}

/** The highest resident memory a process has had, as Linux counts it. */
async function peakMiB(running: RunningInstance, name: string): Promise<number> {
  const pid = running.processId(name);
  if (pid === undefined) throw new Error(`${name} does not run`);
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) / KiB;
}
