/**
 * To the recovery site and back, in one instance per kind of store, while a guest writes: it goes on where its VM runs, and
 * everything that was acknowledged at one site has to be there at the other. Each process is killed in each phase of the way
 * back.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test, type TestContext } from 'vitest';
import { failbackResultSchema } from '../../domain/job.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { RecoveryComputeClient } from '../../sites/hypervisor/control-client.js';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { OrderedGuest } from './ordered-guest.js';
import { checkPrefix, withFiles } from './prefix-check.js';
import { SmallSite, VM } from './small-site.js';
import { startStore, type StoreAdapter } from './store-under-test.js';

const MiB = 1024 * 1024;
const AGENT = 'host-hyperv-01';
const HYPERVISOR = 'hypervisor-hyperv-01';
const COMPUTE = 'recovery-compute';
const AZURE = 'azure-vault-01';
const PROVIDER = 'vmm-vmm-01';
const TEMPORAL = 'temporal';
const ALL = [AGENT, HYPERVISOR, COMPUTE, AZURE, PROVIDER, TEMPORAL];

const DISKS = ['os', 'data'];
const REGION = { offset: MiB, length: 2 * MiB };
const NOISE = { offset: 8 * MiB, length: 8 * MiB };
const WAITING = 'Waiting for the failback to be completed';

/** The test of one kind of store. */
export function wayBack(adapter: StoreAdapter): void {
  test(`to the recovery site and back on an ${adapter} store`, { timeout: 900_000 }, async (context) => {
    requireReader('qemu-img', context);
    const tour = await Tour.start(adapter, context);
    try {
      await tour.there();
      await tour.cancelledFailback();
      await tour.back();
      await tour.protectedAgain();
      await tour.there();
      await tour.back(false);
      await tour.protectedAgain();
      await tour.everythingIsThere();
    } finally {
      await tour.stop();
    }
  });
}

class Tour {
  readonly #startedAt = performance.now();

  private constructor(
    private readonly site: SmallSite,
    private readonly store: Awaited<ReturnType<typeof startStore>>,
    private readonly guest: OrderedGuest,
  ) {}

  static async start(adapter: StoreAdapter, context: Pick<TestContext, 'skip'>): Promise<Tour> {
    const folder = await temporaryFolder();
    await mkdir(path.join(folder, 'source'));
    const store = await startStore(adapter, folder, context);
    const site = await SmallSite.start(folder, 'source', {
      ...{ disks: DISKS, formats: ['raw', 'vhd'], diskBytes: 32 * MiB, copyFrequency: '30s' },
      ...{ store: store.siteText, environment: store.environment },
    });
    const compute = new RecoveryComputeClient(site.data.recoveryControl());
    const urisOf = async () => {
      const replica = (await compute.listVms()).find(({ name, state }) => name === VM && state === 'Running');
      const { state, disks } = replica ?? (await site.hypervisor.describeVm(VM));
      if (state !== 'Running') throw new Error(`${VM} runs nowhere`);
      return disks.map(({ nbdUri }) => nbdUri!);
    };
    const guest = new OrderedGuest({ ...{ vm: VM, disks: DISKS, region: REGION, noise: NOISE, pauseMs: 5 }, urisOf });
    guest.start();
    await site.farshore.protect(VM);
    return new Tour(site, store, guest);
  }

  async stop(): Promise<void> {
    await this.guest.stop().catch(() => undefined);
    await this.site.stop();
    await this.store.stop();
  }

  async there(): Promise<void> {
    await this.#until(({ item }) => item.phase === 'Protected' && !item.job && item.applied !== undefined);
    await this.site.farshore.startJob(VM, 'plannedFailover');
    await this.#until(({ item }) => item.phase === 'FailedOver' && !item.job);
    await this.site.farshore.startJob(VM, 'commitFailover');
    await this.#until(({ item }) => item.phase === 'Committed' && !item.job);
    await this.#written(40);
    this.#say('failed over');
  }

  /** Its steps are undone, and the guest goes on at the recovery site. */
  async cancelledFailback(): Promise<void> {
    const { site } = this;
    const { jobId } = await site.farshore.startJob(VM, 'failback');
    await this.#until(({ item }) => item.job?.task === WAITING);
    await this.#written(20);
    await site.farshore.cancelJob(jobId);
    await site.killAndReturn(AGENT, AZURE);
    await this.#until(({ item }) => !item.job);
    const { item } = (await site.farshore.protectedItem(VM))!;
    expect(item).toMatchObject({ phase: 'Committed', activeSide: 'recovery' });
    expect(item.leftovers).toBeUndefined();
    expect((await site.hypervisor.describeVm(VM)).failback).toBeUndefined();
    await this.#written(20);
    this.#say('a failback was cancelled');
  }

  /** @param withKills of every process in every phase. */
  async back(withKills = true): Promise<void> {
    const { site } = this;
    const kill = async (...names: string[]) => {
      if (withKills) for (const name of names) await site.killAndReturn(name);
    };
    const { jobId } = await site.farshore.startJob(VM, 'failback');
    await kill(...ALL);
    await this.#until(({ item }) => item.job?.task === WAITING);
    await this.#written(20);
    await kill(...ALL);
    await this.#written(20);
    await site.farshore.completeFailback(VM);
    await kill(...ALL);
    await this.#until(({ item }) => item.phase === 'FailedBack' && !item.job);
    const { disks } = failbackResultSchema.parse((await site.farshore.job(jobId)).result);
    for (const disk of disks) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
    await this.#written(20);
    await kill(HYPERVISOR);
    await site.farshore.startJob(VM, 'commitFailover');
    await kill(...ALL);
    await this.#until(({ item }) => item.phase === 'Committed' && !item.job);
    expect((await site.hypervisor.describeVm(VM)).failback).toBeUndefined();
    await this.#written(20);
    this.#say('failed back');
  }

  async protectedAgain(): Promise<void> {
    const { site } = this;
    await site.farshore.startJob(VM, 'reverseReplicate');
    await site.killAndReturn(AGENT, AZURE);
    await this.#until(({ item }) => item.phase === 'Protected' && !item.job && !item.resync);
    this.#say('protected again');
  }

  async everythingIsThere(): Promise<void> {
    const { site, store, guest } = this;
    await guest.stop();
    const sequence = await site.sync();
    await this.#until(({ item }) => (item.applied?.sequence ?? 0) >= sequence);
    await site.hypervisor.shutDownVm(VM);
    await site.expectEqual({ replicaOf: (disk) => store.replica(VM, disk) });
    const now = Date.now();
    const files = DISKS.map((disk) => site.diskFile(disk));
    const { last, faults } = await withFiles(files, (sources) => checkPrefix(guest, sources, now));
    expect(faults).toEqual([]);
    expect(last).toBe(guest.acknowledged);
    this.#say(`the guest wrote ${guest.acknowledged} blocks, and the disks at home hold ${last}`);
  }

  /** The guest goes on: a VM that is said to run does. */
  async #written(blocks: number): Promise<void> {
    const before = this.guest.acknowledged;
    await expect
      .poll(() => this.guest.acknowledged, { timeout: 60_000, interval: 20 })
      .toBeGreaterThanOrEqual(before + blocks);
  }

  #until(reached: (view: ProtectedItemView) => boolean): Promise<ProtectedItemView> {
    return this.site.untilRetried(reached);
  }

  #say(what: string): void {
    console.log(`${Math.round((performance.now() - this.#startedAt) / 1000)} s: ${what}`);
  }
}
