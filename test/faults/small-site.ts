/** An instance with one VM of one small disk, as a person at the command line sees it. */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { Farshore } from '../../client/farshore.js';
import { DataFolder } from '../../dist/workers/data-folder.js';
import { loadSite } from '../../dist/workers/site-file.js';
// As built: the instance starts its processes from the folder it is loaded from.
import { startInstance, type RunningInstance } from '../../dist/workers/up.js';
import { HypervisorClient } from '../../sites/embedded/control-client.js';
import { NbdGuest } from '../../sites/embedded/guest.js';
import type { ProtectedItemView } from '../../workflows/messages.js';
import { Shell } from '../client/command.js';
import { runReader } from '../support/readers.js';

const MiB = 1024 * 1024;
const DISK_BYTES = 32 * MiB;
/** Everything here takes seconds; the processes' first steps, on a busy machine, some more. */
const PATIENCE_MS = 100_000;
export const VM = 'db-01';

/** The policy's cycles are far apart, and its window is half a day away: what is sent is what a test asks for. */
const siteText = (source: string) => `
vault: { name: vault-01, store: { kind: embedded, path: store } }
vmmServers:
  - { name: vmm-01, clouds: [{ name: cloud, hosts: [{ name: hyperv-01 }] }] }
policies:
  - name: slow
    copyFrequency: 15m
    resynchronizationWindow: { from: '${clock(12)}', to: '${clock(13)}', timeZone: UTC }
vms:
  - { name: ${VM}, host: hyperv-01, policy: slow, disks: [{ name: os, path: ${source}/os.img }] }
`;

/** Time of the day in so many hours, in UTC. */
const clock = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString().slice(11, 16);

export class SmallSite {
  hypervisor: HypervisorClient;
  readonly #shell: Shell;

  private constructor(
    readonly folder: string,
    readonly disk: string,
    public running: RunningInstance,
    public farshore: Farshore,
    private readonly data: DataFolder,
  ) {
    this.hypervisor = new HypervisorClient(data.hypervisorControl('hyperv-01'));
    this.#shell = new Shell(folder);
  }

  /** @param source folder of the disk, inside the site's. */
  static async start(folder: string, source: string): Promise<SmallSite> {
    const disk = path.join(folder, source, 'os.img');
    const file = await open(disk, 'w');
    await file.truncate(DISK_BYTES);
    await file.write(randomBytes(8 * MiB), 0, 8 * MiB, 4 * MiB);
    await file.close();
    await writeFile(path.join(folder, 'site.yaml'), siteText(source));
    const data = new DataFolder(path.join(folder, 'data'));
    const { running, farshore } = await SmallSite.run(folder, data);
    return new SmallSite(folder, disk, running, farshore, data);
  }

  private static async run(folder: string, data: DataFolder) {
    const site = await loadSite(path.join(folder, 'site.yaml'), { disks: true });
    const running = await startInstance({ data, site, onProgress: () => undefined });
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

  async stop(): Promise<void> {
    await this.farshore.close();
    await this.running.stop();
  }

  /** @throws with what the VM is when it does not get there. */
  async until(reached: (view: ProtectedItemView) => boolean): Promise<ProtectedItemView> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const view = await this.farshore.protectedItem(VM).catch(() => undefined);
      if (view && reached(view)) return view;
      if (performance.now() > deadline)
        throw new Error(`${VM} did not get there: ${JSON.stringify(view, undefined, 1)}`);
      await sleep(50);
    }
  }

  /** Waits until the failure is a condition of the VM, and is shown with its remedy. */
  async untilFailing(code: string, health: 'Warning' | 'Critical', remedy: RegExp): Promise<void> {
    const { health: whole } = await this.until(({ conditions }) => conditions.some(({ reason }) => reason === code));
    expect(whole).toBe(health);
    const [shown, status] = await Promise.all([
      this.#shell.run('vm', 'show', VM, '--data', 'data'),
      this.#shell.run('status', '--data', 'data'),
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
  async sync(): Promise<number> {
    return (await this.farshore.sync(VM)).sequence;
  }

  /** Paths of the disk's change logs, the oldest first. */
  async logs(): Promise<string[]> {
    const folder = path.dirname(this.disk);
    const names = (await readdir(folder)).filter((name) => name.endsWith('.hrl'));
    return names.toSorted().map((name) => path.join(folder, name));
  }

  /** What somebody else's program says of the source and the replica of each disk. */
  async expectEqual(...disks: string[]): Promise<void> {
    for (const disk of disks.length > 0 ? disks : ['os']) {
      const source = path.join(path.dirname(this.disk), `${disk}.img`);
      const replica = path.join(this.folder, 'store', 'vms', VM, 'disks', `${disk}.vhd`);
      const said = await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', source, replica);
      expect(said).toContain('identical');
    }
  }
}
