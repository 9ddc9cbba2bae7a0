/** A whole instance with one VM that has one disk, as `farshore up` runs it, and the memory of its processes. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Farshore } from '../client/farshore.js';
import { cycleManifestSchema, vaultPaths, type CycleManifest } from '../domain/vault.js';
import { HypervisorClient } from '../sites/hypervisor/control-client.js';
import { NbdGuest } from '../sites/nbd/guest.js';
import { DataFolder } from '../config/data-folder.js';
import { loadSite } from '../config/site-file.js';
import { startInstance, type RunningInstance } from '../instance/up.js';
import type { ProtectedItemView } from '../domain/item-view.js';
import { required, type Outcome } from './figures.js';
import { replicaBlobName } from '../sites/vhd-disks.js';

const HOST = 'hyperv-01';
const VM = 'db-01';
const KiB = 1024;
const LIMIT_MIB = 300;
const PROCESSES = [
  { name: `host-${HOST}`, title: 'agent' },
  { name: `hypervisor-${HOST}`, title: 'hypervisor' },
  { name: 'azure-vault-01', title: 'Azure worker' },
] as const;

export interface BenchInstance {
  /** Files of the disk and of its replica. */
  readonly files: { readonly source: string; readonly replica: string };
  connectGuest(): Promise<NbdGuest>;
  protect(): Promise<void>;
  /** Pauses replication: no cycle is sent until `cycle` resumes it. */
  pause(): Promise<void>;
  /**
   * Sends the changes, or lets a scheduled cycle send them, and waits until they are applied.
   * @param pollMs polling interval, milliseconds. @default 200
   */
  cycle(pollMs?: number): Promise<void>;
  /** Manifest of the newest applied cycle. */
  manifest(): Promise<CycleManifest>;
  /** The highest resident memory of each process so far. @param what the work that was done. */
  peaks(what: string): Promise<Outcome[]>;
}

/** @param folder contains `os.img`, the VM's disk. @param copyFrequency of the VM's policy. */
export function withInstance<T>(
  folder: string,
  copyFrequency: string,
  work: (instance: BenchInstance) => Promise<T>,
): Promise<T> {
  return withSite(folder, siteText(copyFrequency), ({ data, running, farshore }) =>
    work({
      files: {
        source: path.join(folder, 'os.img'),
        replica: path.join(folder, 'store', replicaBlobName(VM, 'os')),
      },
      connectGuest: async () => {
        const { disks: found } = await new HypervisorClient(data.hypervisorControl(HOST)).describeVm(VM);
        return await NbdGuest.connect(found[0]!.nbdUri!);
      },
      protect: async () => {
        await farshore.protect(VM);
        await until(farshore, ({ item }) => item.phase === 'Protected');
      },
      pause: async () => void (await farshore.pause(VM)),
      cycle: async (pollMs) => {
        if ((await farshore.protectedItem(VM))?.operations.resume.allowed) await farshore.resume(VM);
        const before = await until(farshore, ({ operations }) => operations.sync.allowed, pollMs);
        const applied = before.item.applied?.sequence ?? 0;
        // Refused if a scheduled cycle has begun in the meantime, which will do as well.
        await farshore.sync(VM).catch(() => undefined);
        await until(farshore, ({ item }) => (item.applied?.sequence ?? 0) > applied, pollMs);
      },
      manifest: async () => {
        const { item } = await until(farshore, ({ item: { applied } }) => applied !== undefined);
        const name = vaultPaths.manifest(VM, item.epoch, item.applied!.sequence);
        return cycleManifestSchema.parse(JSON.parse(await readFile(path.join(folder, 'store', name), 'utf8')));
      },
      peaks: (what) =>
        Promise.all(
          PROCESSES.map(async ({ name, title }) => ({
            name: `memory, peak of ${title}, ${what}`,
            unit: 'MiB' as const,
            samples: [await peakMiB(running, name)],
            targets: [required('at most', LIMIT_MIB)],
            details: [],
          })),
        ),
    }),
  );
}

interface SiteUp {
  readonly data: DataFolder;
  readonly running: RunningInstance;
  readonly farshore: Farshore;
}

/** Runs an instance while the work lasts. @param folder contains the disks of the site. */
export async function withSite<T>(folder: string, siteText: string, work: (up: SiteUp) => Promise<T>): Promise<T> {
  await writeFile(path.join(folder, 'site.yaml'), siteText);
  const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
  const data = new DataFolder(folder);
  const running = await startInstance({ data, site, onProgress: () => undefined });
  try {
    const { address, namespace } = running.instance.temporal;
    const farshore = await Farshore.connect({ site: site.site, address, namespace });
    try {
      return await work({ data, running, farshore });
    } finally {
      await farshore.close();
    }
  } finally {
    await running.stop();
  }
}

const siteText = (copyFrequency: string) => `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: ${HOST} }] }] }
policies: [{ name: fast, copyFrequency: ${copyFrequency} }]
vms:
  - { name: ${VM}, host: ${HOST}, policy: fast, disks: [{ name: os, path: os.img }] }
`;

async function until(
  farshore: Farshore,
  reached: (view: ProtectedItemView) => boolean,
  pollMs = 200,
): Promise<ProtectedItemView> {
  for (;;) {
    const view = await farshore.protectedItem(VM);
    if (view?.item.resync !== undefined) throw new Error('a resynchronization was asked for');
    if (view && reached(view)) return view;
    await sleep(pollMs);
  }
}

/** The highest resident memory of a process, as Linux counts it. */
async function peakMiB(running: RunningInstance, name: string): Promise<number> {
  const pid = running.processId(name);
  if (pid === undefined) throw new Error(`${name} does not run`);
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) / KiB;
}
