/**
 * The soak run, `npm run test:soak`: VMs of two disks whose guests write on, while people ask for things and processes,
 * store and Temporal fail, at random. Every recovery point is checked, and at the end every VM is failed over and its
 * replica compared. FARSHORE_SOAK_MINUTES (30) and FARSHORE_SOAK_SEED (random) set how long, and which chance.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { failoverResultSchema } from '../../domain/job.js';
import { OrderedGuest } from '../faults/ordered-guest.js';
import { checkPrefix, withFiles } from '../faults/prefix-check.js';
import { SmallSite } from '../faults/small-site.js';
import { startStore, storeAdapters } from '../faults/store-under-test.js';
import { PreloadedSyncFault } from '../support/preloaded-sync-fault.js';
import { smallFileSystem } from '../support/small-file-system.js';
import { terminatePlanRun } from './ended-plan.js';
import { ExpectedMarks } from './expected-marks.js';
import { Neighbour } from './neighbour.js';
import { Random } from './random.js';
import { chooseAction, resumeUntilDone } from './soak-actions.js';
import { SoakWatch } from './soak-watch.js';
import type { SoakWorld } from './soak-world.js';

const MiB = 1024 * 1024;
const MINUTES = Number(process.env['FARSHORE_SOAK_MINUTES'] ?? 30);
const SEED = Number(process.env['FARSHORE_SOAK_SEED'] ?? Date.now() % 2 ** 31);
const ADAPTER = storeAdapters.find((adapter) => adapter === process.env['FARSHORE_SOAK_STORE']) ?? 'embedded';
const VMS = ['db-02', 'app-02', 'web-02'];
const DISKS = ['os', 'data'];
const MINUTE_MS = 60_000;

test(
  `soak, ${MINUTES} minutes, seed ${SEED}, ${ADAPTER} store`,
  { timeout: MINUTES * MINUTE_MS + 30 * MINUTE_MS },
  async (context) => {
    const again = `FARSHORE_SOAK_STORE=${ADAPTER} FARSHORE_SOAK_SEED=${SEED} FARSHORE_SOAK_MINUTES=${MINUTES} npm run test:soak`;
    console.log(`Seed ${SEED}. Again: ${again}`);
    const folder = await mkdtemp(path.join(tmpdir(), 'farshore-soak-'));
    let succeeded = false;
    // Before the store is mounted in it, as what is registered first is done last.
    onTestFinished(() => (succeeded ? rm(folder, { recursive: true, force: true }) : undefined));
    const volume = { folder: path.join(folder, 'source'), mebibytes: 1024 };
    await smallFileSystem(volume.folder, volume.mebibytes, context);
    const syncFault = await PreloadedSyncFault.compile(folder);
    if (syncFault) Object.assign(process.env, syncFault.environment);
    else console.log('No C compiler: no sync will fail.');
    const store = await startStore(ADAPTER, folder, context);
    const site = await SmallSite.start(folder, 'source', {
      ...{ vms: VMS, disks: DISKS, diskBytes: 64 * MiB, dataBytes: 16 * MiB },
      ...{ copyFrequency: '30s', store: store.siteText, environment: store.environment },
    });
    const random = new Random(SEED);
    const guests = VMS.map(
      (vm, index) =>
        new OrderedGuest({
          ...{
            vm,
            disks: DISKS,
            region: { offset: MiB, length: 2 * MiB },
            noise: { offset: 12 * MiB, length: 16 * MiB },
          },
          ...{ pauseMs: 15, urisOf: () => site.diskUris(vm), random: new Random(SEED + index + 1).next },
        }),
    );
    const findings: string[] = [];
    const find = (what: string) => {
      findings.push(what);
      console.log(`FOUND: ${what}`);
    };
    const world: SoakWorld = {
      ...{ site, store, vms: VMS, random, syncFault, volume, find },
      ...{ marks: new ExpectedMarks(), verifications: [], tags: { count: 0 }, damaged: [] },
    };
    const watch = new SoakWatch(world, guests);
    const neighbour = await Neighbour.start(path.join(folder, 'neighbour'), site, { vm: VMS[0]!, seed: SEED, find });
    const done: Record<string, number> = {};
    const summary = (minute: string) => {
      const blocks = guests.map(({ acknowledged }) => acknowledged).join('+');
      const counts = Object.entries(done)
        .map(([name, count]) => `${name} ${count}`)
        .join(', ');
      console.log(
        `${minute}: ${blocks} blocks, ${watch.checkedPoints.size} points checked, ${watch.verified} verifications equal, ` +
          `longest RPO ${watch.longestRpo} s, ${findings.length} findings; ${counts}`,
      );
    };
    let endWatch = () => Promise.resolve();
    try {
      for (const guest of guests) guest.start();
      for (const vm of VMS) await site.farshore.protect(vm);
      endWatch = watch.start();
      const startedAt = performance.now();
      let minute = 0;
      while (performance.now() - startedAt < MINUTES * MINUTE_MS) {
        const { name, vm, act } = chooseAction(world);
        done[name] = (done[name] ?? 0) + 1;
        await act(world, vm).catch((error: unknown) => find(`${name} ${vm}: ${(error as Error).message}`));
        await sleep(random.below(3_000));
        if (performance.now() - startedAt < (minute + 1) * MINUTE_MS) continue;
        summary(`minute ${(minute += 1)}`);
        await watch.checkWorkflows();
      }
      // The administrator goes on until all is well.
      for (const vm of VMS) await resumeUntilDone(site, vm);
      await neighbour.check();
      await terminatePlanRun(world);
      await failOverAll(site, guests, store, watch);
      await endWatch();
      await watch.checkNewPoints();
      for (const guest of guests) {
        const points = await store.points(guest.vm);
        const unchecked = points.filter(({ id }) => !watch.checkedPoints.has(`${guest.vm}/${id}`));
        expect(unchecked).toEqual([]);
        if (guest.refusedForSpace > 0)
          find(`${guest.vm}: ${guest.refusedForSpace} writes were refused for lack of space`);
      }
      await watch.checkWorkflows();
      summary('end');
      expect(findings, `Again: ${again}`).toEqual([]);
      succeeded = true;
    } finally {
      await endWatch();
      for (const guest of guests) await guest.stop().catch((error: unknown) => find((error as Error).message));
      await neighbour.stop();
      await site.stop();
      await store.stop();
      if (!succeeded) console.log(`Logs and disks: ${folder}. Again: ${again}`);
    }
  },
);

/** Those that the plan run did not fail over before it was terminated. */
async function failOverAll(
  site: SmallSite,
  guests: readonly OrderedGuest[],
  store: Awaited<ReturnType<typeof startStore>>,
  watch: SoakWatch,
): Promise<void> {
  for (const guest of guests) {
    const { vm } = guest;
    const { item } = await site.untilRetried(
      ({ item: { phase, job, resync, retry, pending } }) =>
        phase === 'FailedOver' || (phase === 'Protected' && !job && !resync && !retry && pending.length === 0),
      vm,
    );
    if (item.phase === 'Protected') await site.farshore.startJob(vm, 'plannedFailover');
    const failedOver = await site.untilRetried(({ item: { phase, job } }) => phase === 'FailedOver' && !job, vm);
    await guest.stop();
    const jobId = failedOver.item.recentJobs.findLast(({ kind }) => kind === 'plannedFailover')!.id;
    const result = failoverResultSchema.parse((await site.farshore.job(jobId)).result);
    for (const disk of result.disks) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
    await site.expectEqual({ vm, replicaOf: (disk) => store.replica(vm, disk) });
    const files = await Promise.all(DISKS.map((disk) => store.replica(vm, disk)));
    const report = await withFiles(files, (sources) => checkPrefix(guest, sources, Date.now()));
    for (const fault of report.faults) watch.find(`${vm}, failed over: ${fault}`);
    if (report.last < guest.acknowledged)
      watch.find(`${vm}: ${guest.acknowledged} blocks, and ${report.last} failed over`);
  }
}
