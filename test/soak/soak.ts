/**
 * The soak run, `npm run test:soak`: VMs of two disks whose guests write on, while people ask for things and processes,
 * store and Temporal fail, at random. Every recovery point is checked, and at the end every VM is failed over and its
 * replica compared. FARSHORE_SOAK_MINUTES (30) and FARSHORE_SOAK_SEED (random) set how long, and which chance.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { failoverResultSchema } from '../../domain/job.js';
import { OrderedGuest } from '../faults/ordered-guest.js';
import { checkPrefix, withFiles } from '../faults/prefix-check.js';
import { SmallSite } from '../faults/small-site.js';
import { startStore, storeAdapters } from '../faults/store-under-test.js';
import { Random } from './random.js';
import { chooseAction, resumeUntilDone, type SoakWorld } from './soak-actions.js';
import { SoakWatch } from './soak-watch.js';

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
    await mkdir(path.join(folder, 'source'));
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
    const tags = { count: 0 };
    const world: SoakWorld = { site, store, vms: VMS, random, mayNeedResync: new Set(), verifications: [], tags };
    const watch = new SoakWatch(world, guests);
    const done: Record<string, number> = {};
    const summary = (minute: string) => {
      const blocks = guests.map(({ acknowledged }) => acknowledged).join('+');
      const counts = Object.entries(done)
        .map(([name, count]) => `${name} ${count}`)
        .join(', ');
      console.log(
        `${minute}: ${blocks} blocks, ${watch.checkedPoints.size} points checked, ${watch.verified} verifications equal, ` +
          `longest RPO ${watch.longestRpo} s, ${watch.findings.length} findings; ${counts}`,
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
        await act(world, vm).catch((error: unknown) => watch.find(`${name} ${vm}: ${(error as Error).message}`));
        await sleep(random.below(3_000));
        if (performance.now() - startedAt < (minute + 1) * MINUTE_MS) continue;
        summary(`minute ${(minute += 1)}`);
        await watch.checkWorkflows();
      }
      // The administrator goes on until all is well.
      for (const vm of VMS) await resumeUntilDone(site, vm);
      await failOverAll(site, guests, store, watch);
      await endWatch();
      await watch.checkNewPoints();
      for (const guest of guests) {
        const points = await store.points(guest.vm);
        const unchecked = points.filter(({ id }) => !watch.checkedPoints.has(`${guest.vm}/${id}`));
        expect(unchecked).toEqual([]);
      }
      await watch.checkWorkflows();
      summary('end');
      expect(watch.findings, `Again: ${again}`).toEqual([]);
      succeeded = true;
    } finally {
      await endWatch();
      for (const guest of guests) await guest.stop().catch((error: unknown) => watch.find((error as Error).message));
      await site.stop();
      await store.stop();
      if (!succeeded) console.log(`Logs and disks: ${folder}. Again: ${again}`);
    }
  },
);

async function failOverAll(
  site: SmallSite,
  guests: readonly OrderedGuest[],
  store: Awaited<ReturnType<typeof startStore>>,
  watch: SoakWatch,
): Promise<void> {
  for (const guest of guests) {
    const { vm } = guest;
    await site.until(
      ({ item }) => item.phase === 'Protected' && !item.job && !item.resync && !item.retry && item.pending.length === 0,
      vm,
    );
    const { jobId } = await site.farshore.startJob(vm, 'plannedFailover');
    await site.until(({ item }) => item.phase === 'FailedOver', vm);
    await guest.stop();
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
