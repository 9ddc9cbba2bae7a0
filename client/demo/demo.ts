/**
 * `farshore demo`: the most important operations from start to end, with real parts. Three VMs with real file systems,
 * which are written to all the time, are protected and replicated, test failed over, failed over with a recovery plan,
 * failed back and protected again. Where QEMU is installed, they boot. After the failover and at the end, the replicas are
 * proven equal to their sources.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { shellWord } from '../../domain/shell-word.js';
import { DataFolder, type Instance } from '../../config/data-folder.js';
import { loadPlan, loadSite, type LoadedSite } from '../../config/site-file.js';
import { openReplicaStore } from '../../local/open-replica-store.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { cacheFolder } from '../../temporal/server/cache-folder.js';
import type { Farshore } from '../farshore.js';
import { fields, note } from '../output.js';
import { BootedGuests } from './booted-guests.js';
import { protectAll, syncAll } from './demo-protection.js';
import { demoDisks, makeDemoSite, type DemoDisk } from './demo-site.js';
import { proveAndPrint, proveDisks, type DemoRecord } from './demo-report.js';
import { againBeside, demoStores, type DemoStorage } from './demo-store.js';
import { bootableGuest } from './guest/bootable.js';
import { bringToRest } from './rest.js';
import { Story } from './story.js';
import { findTool } from './tools.js';
import { WritingGuests } from './writing-guests.js';

const cliPath = fileURLToPath(new URL('../cli.js', import.meta.url));
const RECORD = 'demo.json';
const FIRST_TRANSACTIONS_MS = 3_000;

export interface DemoOptions {
  readonly storage: DemoStorage;
  /** Leave the site running and keep its files. */
  readonly keep: boolean;
  readonly json: boolean;
}

/** @param dataOption the folder to work in; if undefined, one is made. @returns whether everything was proven. */
export async function demonstrate(
  dataOption: string | undefined,
  { storage, keep, json }: DemoOptions,
): Promise<boolean> {
  const folder =
    dataOption === undefined ? await mkdtemp(path.join(tmpdir(), 'farshore-demo-')) : path.resolve(dataOption);
  // Screenshots outlive a folder that is deleted at the end.
  const screens = keep || dataOption !== undefined ? path.join(folder, 'screens') : path.join(cacheFolder(), 'demo');
  const store = demoStores[storage]();
  try {
    const image = await bootableGuest();
    const notBooted = typeof image === 'string' ? image : undefined;
    note(`Making the disks of three VMs in ${folder}`);
    const disks = await makeDemoSite(folder, await store.begin(folder), typeof image === 'string' ? undefined : image);
    if (!disks.every((disk) => disk.fileSystem)) note('mke2fs is not installed: the disks get data but no file system');
    if (notBooted !== undefined) note(`The VMs only serve their disks. Not booted: ${notBooted}`);
    const siteFile = path.join(folder, 'site.yaml');
    await cli('up', '--detach', '--site', siteFile, '--data', folder);
    let ended: { instance: Instance; ok: boolean };
    try {
      ended = await conduct(folder, disks, { keep, json, screens, notBooted });
    } finally {
      if (!keep) await cli('down', '--data', folder);
    }
    if (keep) note(keepText(folder, ended.instance));
    return ended.ok;
  } finally {
    if (!keep) await store.end();
    if (!keep && dataOption === undefined) await rm(folder, { recursive: true, force: true });
  }
}

interface Conducting extends Pick<DemoOptions, 'keep' | 'json'> {
  /** Folder for the screenshots. */
  readonly screens: string;
  readonly notBooted: string | undefined;
}

async function conduct(
  folder: string,
  disks: DemoDisk[],
  { keep, json, screens, notBooted }: Conducting,
): Promise<{ instance: Instance; ok: boolean }> {
  const data = new DataFolder(folder);
  const instance = await data.readInstance();
  if (!instance) throw new Error(`the instance in ${folder} is no longer running`);
  const site = await loadSite(path.join(folder, 'site.yaml'), { disks: false });
  const plan = await loadPlan(path.join(folder, 'plan.yaml'), site.site);
  const farshore = await connect(site, instance);
  const store = await openReplicaStore(site.site.vault.store);
  const vms = site.site.vms.map((vm) => vm.name);
  const { host } = site.site.vms[0]!;
  const guests = notBooted === undefined ? new BootedGuests(data, host) : new WritingGuests(disks);
  const story = new Story({ farshore, data, host, store, guests, disks, vms, screens });
  try {
    const sourceUri = await story.sourceUris();
    const begun = Promise.all(vms.map((vm) => guests.begin(vm, 'primary', sourceUri)));
    if (!guests.areBooted) await begun;
    note(
      guests.areBooted
        ? 'The VMs boot in QEMU, and their guests write transactions to their file systems all the time'
        : 'Guests now write to all disks continuously, over NBD',
    );
    const [seeded] = await Promise.all([protectAll(farshore, vms), begun]);
    // So that there are transactions to be found again.
    if (guests.areBooted) await sleep(FIRST_TRANSACTIONS_MS);
    await syncAll(farshore, vms);
    note('Test failover: a copy of each VM starts at the recovery site, while the VM and its replication continue');
    await story.testFailover();
    note(
      `Running recovery plan ${plan.name}: ${plan.groups.map((group) => `${group.name} (${group.vms.join(', ')})`).join(', then ')}`,
    );
    const planRun = await story.failOver(plan);
    note('The guests continue at the recovery site, on the disks of the replica VMs');
    await story.commit();
    // The failback changes neither the replica nor, before its commit, the disks at the primary site.
    const [afterFailover] = await Promise.all([
      proveDisks(folder, disks, site.site.vault.store, [...story.written], (line) => story.say(line)),
      story.failBack(),
    ]);
    await story.commit();
    await story.reverseReplicate();
    note('The VMs shut down, so that their disks can be compared');
    await story.rest();
    const record: DemoRecord = {
      planRun,
      ...(notBooted !== undefined && { notBooted }),
      vms: vms.map((name) => ({ name, ...seeded.get(name)!, failover: story.failovers.get(name)! })),
      story: story.steps,
      transactions: guests.areBooted ? story.transactions : [],
      screenshots: story.screenshots,
      written: story.written,
      afterFailover: { ok: afterFailover.ok, skipped: afterFailover.skipped },
    };
    await writeFile(path.join(folder, RECORD), JSON.stringify(record, null, 2));
    const ok = await proveAndPrint(folder, disks, site, record, json, keep ? instance : 'ending');
    return { instance, ok };
  } finally {
    await guests.stop();
    await store.close();
    await farshore.close();
  }
}

async function connect({ site }: LoadedSite, { temporal }: Instance): Promise<Farshore> {
  const { address, namespace } = temporal;
  // Loaded here because it takes a while, which would delay every other command.
  const library = await import('../farshore.js');
  return await library.Farshore.connect({ site, address, namespace });
}

export async function checkAgain(folder: string, json: boolean): Promise<boolean> {
  const root = path.resolve(folder);
  const record = JSON.parse(await readFile(path.join(root, RECORD), 'utf8')) as DemoRecord;
  await againBeside(root);
  const site = await loadSite(path.join(root, 'site.yaml'), { disks: false });
  const data = new DataFolder(root);
  const instance = await data.readInstance();
  if (instance) await shutDownRunning(site, data, instance);
  const mke2fs = await findTool('mke2fs');
  const disks = demoDisks(root).map((disk) => ({ ...disk, fileSystem: mke2fs !== undefined }));
  return proveAndPrint(root, disks, site, record, json, instance);
}

/** The VMs of a kept demo may have been started again. */
async function shutDownRunning(site: LoadedSite, data: DataFolder, instance: Instance): Promise<void> {
  const hypervisor = new HypervisorClient(data.hypervisorControl(site.site.vms[0]!.host));
  const running = (await hypervisor.listVms()).filter(({ state }) => state === 'Running');
  if (running.length === 0) return;
  note(`Shutting down ${running.map(({ name }) => name).join(', ')}, so that their disks can be compared`);
  const farshore = await connect(site, instance);
  try {
    await Promise.all(running.map(({ name }) => bringToRest(farshore, hypervisor, name)));
  } finally {
    await farshore.close();
  }
}

const keepText = (folder: string, instance: Instance): string =>
  `The site keeps running (process ${instance.pid}).\n${fields([
    ['Look', `farshore status --data ${shellWord(folder)}`],
    ['Start a VM', `farshore vm start db-01 --data ${shellWord(folder)}`],
    ['Prove again', `farshore demo --check ${shellWord(folder)}`],
    ['Stop', `farshore down --data ${shellWord(folder)}`],
  ])}`;

async function cli(...args: string[]): Promise<void> {
  const child = promisify(execFile)(process.execPath, [cliPath, ...args]);
  child.child.stderr?.pipe(process.stderr);
  await child;
}
