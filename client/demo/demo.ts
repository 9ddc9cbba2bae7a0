/**
 * `farshore demo`: the most important operations from start to end, with real parts. Three VMs with real file systems,
 * whose disks are written to all the time, are protected, replicated, failed over with a recovery plan and committed.
 * At the end the replicas are proven equal to their sources.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { formatBytes } from '../../domain/bytes.js';
import { failoverResultSchema, type FailoverResult } from '../../domain/job.js';
import { shellWord } from '../../domain/shell-word.js';
import { formatSeconds } from '../../domain/time.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { DataFolder, type Instance } from '../../config/data-folder.js';
import { loadPlan, loadSite, type LoadedSite } from '../../config/site-file.js';
import type { PlanRun } from '../../domain/plan-run.js';
import { JobFailedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { fields, note } from '../output.js';
import { Progress } from '../progress.js';
import { waitForJob } from '../commands/wait.js';
import { demoDisks, makeDemoSite, type DemoDisk } from './demo-site.js';
import { proveAndPrint, type DemoRecord } from './demo-report.js';
import { againBeside, demoStores, type DemoStorage } from './demo-store.js';
import { Guests, tryForbiddenWrite } from './guests.js';
import { findTool } from './tools.js';

const cliPath = fileURLToPath(new URL('../cli.js', import.meta.url));
const RECORD = 'demo.json';

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
  const store = demoStores[storage]();
  try {
    note(`Making the disks of three VMs in ${folder}`);
    const disks = await makeDemoSite(folder, await store.begin(folder));
    if (!disks.every((disk) => disk.fileSystem)) note('mke2fs is not installed: the disks get data but no file system');
    const siteFile = path.join(folder, 'site.yaml');
    await cli('up', '--detach', '--site', siteFile, '--data', folder);
    let ended: { record: DemoRecord; instance: Instance; ok: boolean };
    try {
      ended = await conduct(folder, disks, { keep, json });
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

async function conduct(
  folder: string,
  disks: DemoDisk[],
  { keep, json }: Pick<DemoOptions, 'keep' | 'json'>,
): Promise<{ record: DemoRecord; instance: Instance; ok: boolean }> {
  const data = new DataFolder(folder);
  const instance = await data.readInstance();
  if (!instance) throw new Error(`the instance in ${folder} is no longer running`);
  const site = await loadSite(path.join(folder, 'site.yaml'), { disks: false });
  const plan = await loadPlan(path.join(folder, 'plan.yaml'), site.site);
  const { address, namespace } = instance.temporal;
  // Loaded here because it takes a while, which would delay every other command.
  const library = await import('../farshore.js');
  const farshore = await library.Farshore.connect({ site: site.site, address, namespace });
  const guests = new Guests(disks);
  try {
    const sourceUri = await sourceUris(data, site);
    await guests.start(sourceUri);
    note('Guests now write to all disks continuously, over NBD');
    const vms = site.site.vms.map((vm) => vm.name);
    const seeded = await protectAll(farshore, vms);
    await letCyclesRun(farshore, vms);
    note(
      `Running recovery plan ${plan.name}: ${plan.groups.map((group) => `${group.name} (${group.vms.join(', ')})`).join(', then ')}`,
    );
    const planRun = await failOver(farshore, plan);
    await guests.ended();
    const written = guests.reports();
    for (const disk of disks)
      note(`A write to ${disk.vm}/${disk.name} at the source is refused: ${await tryForbiddenWrite(sourceUri(disk))}`);
    const failovers = new Map(
      planRun.machines.map((machine) => [machine.vm, failoverResultSchema.parse(machine.result)]),
    );
    printNothingLost(failovers);
    await guests.start((disk) => replicaUri(failovers, disk));
    note('The guests continue at the recovery site, on the disks of the replica VMs');
    for (const vm of vms) {
      const { jobId } = await farshore.startJob(vm, 'commitFailover');
      const job = await farshore.followJob(jobId);
      if (job.state !== 'Succeeded') throw new JobFailedError(`commit of ${vm}: ${job.failure?.message ?? job.state}`);
    }
    note('Committed');
    await guests.stop();
    const record: DemoRecord = {
      planRun: planRun.id,
      guests: written,
      vms: vms.map((name) => ({ name, ...seeded.get(name)!, failover: failovers.get(name)! })),
    };
    await writeFile(path.join(folder, RECORD), JSON.stringify(record, null, 2));
    const ok = await proveAndPrint(folder, disks, site, record, json, keep ? instance : 'ending');
    return { record, instance, ok };
  } finally {
    await guests.stop();
    await farshore.close();
  }
}

async function sourceUris(data: DataFolder, { site }: LoadedSite): Promise<(disk: DemoDisk) => string> {
  const host = site.vms[0]!.host;
  const vms = await new HypervisorClient(data.hypervisorControl(host)).listVms();
  return ({ vm, name }) => {
    const uri = vms.find((each) => each.name === vm)?.disks.find((disk) => disk.name === name)?.nbdUri;
    if (uri === undefined) throw new Error(`disk ${name} of ${vm} is not served`);
    return uri;
  };
}

function replicaUri(failovers: ReadonlyMap<string, FailoverResult>, { vm, name }: DemoDisk): string {
  const uri = failovers.get(vm)?.replicaDisks.find((disk) => disk.name === name)?.nbdUri;
  if (uri === undefined) throw new Error(`the replica VM ${vm} does not serve disk ${name}`);
  return uri;
}

async function protectAll(
  farshore: Farshore,
  vms: readonly string[],
): Promise<Map<string, { bytesSent: number; seedSeconds: number }>> {
  note(`Protecting ${vms.join(', ')}`);
  const progress = new Progress();
  const seeded = new Map<string, { bytesSent: number; seedSeconds: number }>();
  await Promise.all(
    vms.map(async (vm) => {
      const startedAt = performance.now();
      const enable = await waitForJob(farshore, (await farshore.protect(vm)).jobId, progress);
      if (enable.state !== 'Succeeded') throw new JobFailedError(`${vm}: ${enable.failure?.message ?? enable.state}`);
      const view = await farshore.followVm(
        vm,
        (seen) => seen?.item.phase === 'Protected',
        (seen) => {
          const job = seen?.item.job;
          const retry = job?.retry;
          progress.update(vm, {
            name: job?.task ?? (seen?.item.phase === 'Protected' ? 'Protected' : 'Initial replication'),
            ...(job?.progress && { bytes: job.progress }),
            ...(retry && { remark: retry.failure.message }),
          });
          // The demo has no operator, so a job that waits for one ends it.
          if (retry && retry.nextTryAt === undefined) throw new JobFailedError(`${vm}: ${retry.failure.message}`);
        },
      );
      const job = await farshore.job(view!.item.recentJobs.find((each) => each.kind === 'initialReplication')!.id);
      seeded.set(vm, {
        bytesSent: Number(job.result?.['bytesSent'] ?? 0),
        seedSeconds: (performance.now() - startedAt) / 1000,
      });
    }),
  );
  progress.close();
  return seeded;
}

/** Waits for one scheduled cycle and one requested cycle. */
async function letCyclesRun(farshore: Farshore, vms: readonly string[]): Promise<void> {
  note('Replication cycles run every 30 s; waiting for a scheduled one, then requesting one');
  await Promise.all(
    vms.map(async (vm) => {
      await farshore.followVm(vm, (view) => (view?.item.applied?.sequence ?? 0) >= 2);
      const { sequence } = await farshore.sync(vm);
      const view = await farshore.followVm(vm, (seen) => (seen?.item.applied?.sequence ?? 0) >= sequence);
      note(
        `${vm}: cycle ${sequence} applied, ${formatBytes(view?.item.applied?.bytes ?? 0)} sent, RPO ${formatSeconds(view?.rpoSeconds ?? 0)}`,
      );
    }),
  );
}

async function failOver(farshore: Farshore, plan: Parameters<Farshore['runPlan']>[0]): Promise<PlanRun> {
  const id = await farshore.runPlan(plan, 'planned');
  let phase = '';
  const run = await farshore.followPlanRun(id, (seen) => {
    if (seen.phase !== phase) note(`  ${(phase = seen.phase)}`);
  });
  if (run.state !== 'Succeeded') throw new JobFailedError(`recovery plan: ${run.failure ?? run.state}`);
  return run;
}

function printNothingLost(failovers: ReadonlyMap<string, FailoverResult>): void {
  for (const [vm, result] of failovers) {
    note(`${vm}: exports closed at ${result.exportsClosedAt}, final cut at ${result.sealedAt}`);
    for (const disk of result.disks) {
      note(`  ${disk.name}: last write issued ${disk.lastWriteIssued} = last write applied ${disk.lastWriteApplied}`);
    }
  }
}

export async function checkAgain(folder: string, json: boolean): Promise<boolean> {
  const root = path.resolve(folder);
  const record = JSON.parse(await readFile(path.join(root, RECORD), 'utf8')) as DemoRecord;
  await againBeside(root);
  const site = await loadSite(path.join(root, 'site.yaml'), { disks: false });
  const mke2fs = await findTool('mke2fs');
  const disks = demoDisks(root).map((disk) => ({ ...disk, fileSystem: mke2fs !== undefined }));
  return proveAndPrint(root, disks, site, record, json, await new DataFolder(root).readInstance());
}

const keepText = (folder: string, instance: Instance): string =>
  `The site keeps running (process ${instance.pid}).\n${fields([
    ['Look', `farshore status --data ${shellWord(folder)}`],
    ['Prove again', `farshore demo --check ${shellWord(folder)}`],
    ['Stop', `farshore down --data ${shellWord(folder)}`],
  ])}`;

async function cli(...args: string[]): Promise<void> {
  const child = promisify(execFile)(process.execPath, [cliPath, ...args]);
  child.child.stderr?.pipe(process.stderr);
  await child;
}
