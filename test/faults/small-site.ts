/** An instance with small VMs, as a person at the command line sees it. */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { DataFolder } from '../../dist/config/data-folder.js';
import { loadSite } from '../../dist/config/site-file.js';
// As built: the instance starts its processes from the folder it is loaded from.
import { startInstance, type RunningInstance } from '../../dist/instance/up.js';
import { createFixedVhd } from '../../disks/vhd.js';
import type { copyFrequencies } from '../../domain/policy.js';
import type { DiskFormat } from '../../domain/site.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { Shell } from '../client/command.js';
import { farWindow } from '../support/far-window.js';
import { runReader } from '../support/readers.js';

const MiB = 1024 * 1024;
const DISK_BYTES = 32 * MiB;
/** Everything here takes seconds; the processes' first steps, on a busy machine, some more. */
const PATIENCE_MS = 100_000;
const POLL_MS = 100;
export const VM = 'db-01';

export interface SiteOptions {
  /** Its name. @default vault-01 */
  readonly vault?: string;
  /** Address of a Temporal that it shares with others. @default one of its own */
  readonly temporal?: string;
  /** @default one, {@link VM} */
  readonly vms?: readonly string[];
  /** Names of each VM's disks. @default one, `os` */
  readonly disks?: readonly string[];
  /** Bytes. @default 32 MiB */
  readonly diskBytes?: number;
  /** Bytes of random data that each disk begins with, from 4 MiB on. @default 8 MiB */
  readonly dataBytes?: number;
  /** Of each VM's disks, in their order. @default raw, all of them */
  readonly formats?: readonly DiskFormat[];
  /** @default 15m: what is sent is what a test asks for. */
  readonly copyFrequency?: (typeof copyFrequencies)[number];
  /** How long recovery points are kept. @default 24 */
  readonly retentionHours?: number;
  /** `store:` of the site file. @default an embedded one in the folder `store` */
  readonly store?: string;
  /** Of the host, such as `16 Mbit/s`. @default unlimited */
  readonly bandwidth?: string;
  /** Of the commands, besides what there is. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Told what the instance says of its processes. */
  readonly onProgress?: (line: string) => void;
  /** Serves the metrics of each worker. @default false */
  readonly metrics?: boolean;
}

type DiskOptions = Required<Omit<SiteOptions, 'onProgress' | 'metrics' | 'temporal'>>;

const formatOf = (disk: string, { disks, formats }: Pick<Required<SiteOptions>, 'disks' | 'formats'>): DiskFormat =>
  formats[disks.indexOf(disk)] ?? 'raw';

const fileOf = (source: string, vm: string, disk: string) => `${source}/${vm === VM ? '' : `${vm}-`}${disk}.img`;

/** The policy's window is half a day away: what is resynchronized is what a test asks for. */
const siteText = (source: string, options: DiskOptions) => `
vault: { name: ${options.vault}, store: ${options.store} }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: hyperv-01${options.bandwidth === '' ? '' : `, bandwidth: { limit: ${options.bandwidth} }`} }] }] }
policies:
  - name: small
    copyFrequency: ${options.copyFrequency}
    recoveryPointRetentionHours: ${options.retentionHours}
    resynchronizationWindow: ${JSON.stringify(farWindow())}
vms:
${options.vms
  .map((vm) => {
    const disks = options.disks.map(
      (disk) => `{ name: ${disk}, path: ${fileOf(source, vm, disk)}, format: ${formatOf(disk, options)} }`,
    );
    return `  - { name: ${vm}, host: hyperv-01, policy: small, disks: [${disks.join(', ')}] }`;
  })
  .join('\n')}
`;

export class SmallSite {
  hypervisor: HypervisorClient;
  readonly shell: Shell;
  /** The first disk of the first VM. */
  readonly disk: string;

  private constructor(
    readonly folder: string,
    private readonly source: string,
    private readonly options: DiskOptions,
    public running: RunningInstance,
    public farshore: Farshore,
    readonly data: DataFolder,
  ) {
    this.hypervisor = new HypervisorClient(data.hypervisorControl('hyperv-01'));
    this.shell = new Shell(folder, options.environment);
    this.disk = this.diskFile(options.disks[0]!, options.vms[0]);
  }

  /** @param source folder of the disks, inside the site's. */
  static async start(folder: string, source: string, wanted: SiteOptions = {}): Promise<SmallSite> {
    const { onProgress = () => undefined, metrics = false, temporal, ...rest } = wanted;
    const options = {
      vault: 'vault-01',
      vms: [VM],
      disks: ['os'],
      diskBytes: DISK_BYTES,
      dataBytes: 8 * MiB,
      formats: [],
      copyFrequency: '15m' as const,
      retentionHours: 24,
      store: '{ kind: embedded, path: store }',
      bandwidth: '',
      environment: {},
      ...rest,
    };
    for (const vm of options.vms) {
      for (const disk of options.disks)
        await makeDisk(path.join(folder, fileOf(source, vm, disk)), formatOf(disk, options), options);
    }
    await writeFile(path.join(folder, 'site.yaml'), siteText(source, options));
    const data = new DataFolder(path.join(folder, 'data'));
    // Its processes find it in what they inherit.
    if (temporal !== undefined) process.env['TEMPORAL_ADDRESS'] = temporal;
    const { running, farshore } = await SmallSite.run(folder, data, onProgress, metrics).finally(() => {
      if (temporal !== undefined) delete process.env['TEMPORAL_ADDRESS'];
    });
    return new SmallSite(folder, source, options, running, farshore, data);
  }

  private static async run(
    folder: string,
    data: DataFolder,
    onProgress: (line: string) => void = () => undefined,
    metrics = false,
  ) {
    const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
    const running = await startInstance({ data, site, onProgress, metrics });
    const { address, namespace } = running.instance.temporal;
    return { running, farshore: await Farshore.connect({ site: site.site, address, namespace }) };
  }

  /** Ends the instance in order, does something, and starts it by an edited site file. */
  async restart(
    edit: (site: string) => string,
    options: { host?: string; meanwhile?: () => Promise<unknown> } = {},
  ): Promise<void> {
    await this.stop();
    await options.meanwhile?.();
    const file = path.join(this.folder, 'site.yaml');
    await writeFile(file, edit(await readFile(file, 'utf8')));
    Object.assign(this, await SmallSite.run(this.folder, this.data));
    if (options.host !== undefined) this.hypervisor = new HypervisorClient(this.data.hypervisorControl(options.host));
  }

  /** The name of its vault. */
  get vault(): string {
    return this.options.vault;
  }

  diskFile(disk: string, vm: string = VM): string {
    return path.join(this.folder, fileOf(this.source, vm, disk));
  }

  async stop(): Promise<void> {
    await this.farshore.close();
    await this.running.stop();
  }

  /** @throws with what the VM is when it does not get there. */
  async until(
    reached: (view: ProtectedItemView) => boolean | Promise<boolean>,
    vm: string = VM,
    meanwhile: (view: ProtectedItemView) => Promise<void> = () => Promise.resolve(),
  ): Promise<ProtectedItemView> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const view = await this.farshore.protectedItem(vm).catch(() => undefined);
      if (view && (await reached(view))) return view;
      if (performance.now() > deadline)
        throw new Error(`${vm} did not get there: ${JSON.stringify(view, undefined, 1)}`);
      if (view) await meanwhile(view);
      await sleep(POLL_MS);
    }
  }

  /** As `until`, with an administrator who does not wait for the ladder. */
  untilRetried(
    reached: (view: ProtectedItemView) => boolean | Promise<boolean>,
    vm: string = VM,
  ): Promise<ProtectedItemView> {
    return this.until(reached, vm, async ({ operations }) => {
      if (operations.retry.allowed) await this.farshore.retry(vm).catch(() => undefined);
    });
  }

  /** Kills a process, as nothing else ends one. @returns its id; undefined when it does not run just now. */
  kill(name: string): number | undefined {
    const pid = this.running.processId(name);
    if (pid === undefined) return undefined;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended, and nobody has noticed yet.
    }
    return pid;
  }

  /** Kills processes and waits until each runs again. @throws when one does not come back. */
  async killAndReturn(...names: string[]): Promise<void> {
    const killed = names.map((name) => ({ name, pid: this.kill(name) }));
    const deadline = performance.now() + PATIENCE_MS;
    const isBack = ({ name, pid }: (typeof killed)[number]) => {
      const now = this.running.processId(name);
      return now !== undefined && now !== pid;
    };
    while (!killed.every(isBack)) {
      if (performance.now() > deadline) throw new Error(`${names.join(', ')}: killed, and not all came back`);
      await sleep(20);
    }
  }

  /** Waits until the failure is a condition of the VM, and is shown with its remedy. */
  async untilFailing(code: string, health: 'Warning' | 'Critical', remedy: RegExp): Promise<void> {
    const { health: whole } = await this.until(({ conditions }) => conditions.some(({ reason }) => reason === code));
    expect(whole).toBe(health);
    const [shown, status] = await Promise.all([
      this.shell.run('vm', 'show', VM, '--data', 'data'),
      this.shell.run('status', '--data', 'data'),
    ]);
    expect(shown.stdout).toMatch(remedy);
    expect(status).toMatchObject({ code: health === 'Critical' ? 2 : 1, stdout: expect.stringContaining(VM) });
  }

  /** What an administrator types after mending what was wrong. Everything that waited goes on, and is done. */
  async retryUntil(reached: (view: ProtectedItemView) => boolean): Promise<void> {
    await this.farshore.retry(VM);
    await this.until((view) => view.item.retry === undefined && view.item.job?.retry === undefined && reached(view));
  }

  /** Writes as the guest does. */
  async write(bytes: number, offset: number, disk = 'os'): Promise<void> {
    const { disks } = await this.hypervisor.describeVm(VM);
    const guest = await NbdGuest.connect(disks.find(({ name }) => name === disk)!.nbdUri!);
    await guest.write(randomBytes(bytes), offset);
    await guest.flush();
    await guest.close();
  }

  /** Sends what there is to send. @returns the cycle's sequence. */
  async sync(vm: string = VM): Promise<number> {
    return (await this.farshore.sync(vm)).sequence;
  }

  /** As `sync`; resolves once the replica holds the cycle. */
  async syncNow(vm: string = VM): Promise<ProtectedItemView> {
    const sequence = await this.sync(vm);
    return await this.until(({ item }) => (item.applied?.sequence ?? 0) >= sequence, vm);
  }

  /** Where the disks of a running VM are served, in their order. */
  async diskUris(vm: string = VM): Promise<string[]> {
    return (await this.hypervisor.describeVm(vm)).disks.map(({ nbdUri }) => nbdUri!);
  }

  /** Paths of the disk's change logs, the oldest first. */
  async logs(): Promise<string[]> {
    const folder = path.dirname(this.disk);
    const names = (await readdir(folder)).filter((name) => name.endsWith('.hrl'));
    return names.toSorted().map((name) => path.join(folder, name));
  }

  /** What somebody else's program says of the source and the replica of each disk, which by default is in the folder `store`. */
  async expectEqual({
    vm = VM,
    disks = this.options.disks,
    replicaOf = async (disk: string) => path.join(this.folder, 'store', 'vms', vm, 'disks', `${disk}.vhd`),
  }: {
    vm?: string;
    disks?: readonly string[];
    replicaOf?: (disk: string) => Promise<string>;
  } = {}): Promise<void> {
    for (const disk of disks) {
      const format = formatOf(disk, this.options) === 'vhd' ? 'vpc' : 'raw';
      const files = [this.diskFile(disk, vm), await replicaOf(disk)];
      const said = await runReader('qemu-img', 'compare', '-f', format, '-F', 'vpc', ...files);
      expect(said).toContain('identical');
    }
  }
}

async function makeDisk(
  file: string,
  format: DiskFormat,
  { diskBytes, dataBytes }: Pick<Required<SiteOptions>, 'diskBytes' | 'dataBytes'>,
) {
  if (format === 'vhd') await createFixedVhd(file, diskBytes);
  const disk = await open(file, format === 'vhd' ? 'r+' : 'w');
  if (format === 'raw') await disk.truncate(diskBytes);
  for (let at = 0; at < dataBytes; at += MiB) {
    const length = Math.min(MiB, dataBytes - at);
    await disk.write(randomBytes(length), 0, length, 4 * MiB + at);
  }
  await disk.close();
}
