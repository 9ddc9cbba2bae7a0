/**
 * The engine under every fault, in one instance per kind of store, with a VM that has a disk of each format: a guest
 * writes over all of them while each process is killed in each phase, Temporal forgets the VM, and the store is away,
 * full, or hangs. Nothing needs a resynchronization that was not asked for; every recovery point is an instant of the
 * guest; the replica is the source.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import proto from '@temporalio/proto';
import { expect, test, type TestContext } from 'vitest';
import { failoverResultSchema } from '../../domain/job.js';
import { protectedItemId } from '../../domain/ids.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import type { DiskFormat } from '../../domain/site.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { OrderedGuest } from './ordered-guest.js';
import { checkPrefix, withFiles } from './prefix-check.js';
import { checkPoint, listedPoints } from './recovery-points-check.js';
import { SmallSite, VM } from './small-site.js';
import { startStore, type StoreAdapter, type StoreUnderTest } from './store-under-test.js';

const { PENDING_WORKFLOW_TASK_STATE_STARTED } = proto.temporal.api.enums.v1.PendingWorkflowTaskState;

const MiB = 1024 * 1024;
const AGENT = 'host-hyperv-01';
const HYPERVISOR = 'hypervisor-hyperv-01';
const AZURE = 'azure-vault-01';
const PROVIDER = 'vmm-vmm-01';
const TEMPORAL = 'temporal';

/** The VM has a disk of each. */
const FORMATS: readonly DiskFormat[] = ['raw', 'vhd'];
const DISKS = ['os', 'data'];
const BLOCKS = { offset: MiB, length: 2 * MiB };
const NOISE = { offset: 12 * MiB, length: 8 * MiB };

/** The test of one kind of store. A file for each: they take long, and can run side by side. */
export function engineFaults(adapter: StoreAdapter): void {
  test(`disks of the formats ${FORMATS.join(', ')} on an ${adapter} store`, { timeout: 1_200_000 }, async (context) => {
    requireReader('qemu-img', context);
    const run = await FaultRun.start(adapter, context);
    try {
      await run.initialCopy();
      await run.deltaCycle();
      await run.storeFaults();
      await run.terminatedEntity();
      await run.resynchronization();
      await run.plannedFailover();
      await run.everyRecoveryPoint();
    } finally {
      await run.stop();
    }
  });
}

const isBetweenCycles = ({ applied, nextSequence }: ProtectedItem): boolean => applied?.sequence === nextSequence - 1;

class FaultRun {
  readonly #startedAt = performance.now();

  private constructor(
    private readonly site: SmallSite,
    private readonly store: StoreUnderTest,
    private readonly guest: OrderedGuest,
  ) {}

  static async start(adapter: StoreAdapter, context: Pick<TestContext, 'skip'>): Promise<FaultRun> {
    const folder = await temporaryFolder();
    await mkdir(path.join(folder, 'source'));
    const store = await startStore(adapter, folder, context);
    const sizes = { disks: DISKS, diskBytes: 64 * MiB, dataBytes: 24 * MiB };
    const site = await SmallSite.start(folder, 'source', {
      ...sizes,
      formats: FORMATS,
      store: store.siteText,
      environment: store.environment,
    });
    const guest = new OrderedGuest({
      ...{ vm: VM, disks: DISKS, region: BLOCKS, noise: NOISE, pauseMs: 6 },
      urisOf: () => site.diskUris(),
    });
    return new FaultRun(site, store, guest);
  }

  async stop(): Promise<void> {
    await this.guest.stop().catch(() => undefined);
    await this.site.stop();
    await this.store.stop();
  }

  async initialCopy(): Promise<void> {
    const { site } = this;
    this.guest.start();
    await site.farshore.protect(VM);
    const release = await this.#holdFrom(1);
    await this.#stuckIn('Copying the virtual disks');
    await this.#killOneByOne(AGENT, HYPERVISOR, TEMPORAL, AZURE);
    await release();
    await this.#killAtOnce(AGENT, HYPERVISOR, AZURE);
    await this.#until(({ item }) => item.phase === 'Protected' && item.job === undefined);
    this.#say('initial copy');
  }

  async deltaCycle(): Promise<void> {
    const { site } = this;
    const { release, sequence } = await this.#cycleBeingSent();
    await this.#killOneByOne(AGENT, HYPERVISOR, TEMPORAL);
    await release();
    // The agent's attempt is lost; the next sends it, and the Azure worker applies it.
    await this.#untilApplied(sequence);

    await this.#whileApplying(() => this.#killOneByOne(AZURE, TEMPORAL));
    await this.#whileApplying(() => this.#killOneByOne(TEMPORAL, AZURE));
    await this.#whileApplying(() => this.#killAtOnce(AZURE, TEMPORAL));

    const synced = await site.sync();
    await this.#killAtOnce(AGENT, HYPERVISOR, AZURE, TEMPORAL, PROVIDER);
    await this.#untilApplied(synced);
    this.#say('delta cycle');
  }

  /** Each in the middle of a cycle that is being sent. */
  async storeFaults(): Promise<void> {
    const { store } = this;
    const faults = [
      { code: store.refusal, begin: store.refuse, end: store.accept },
      { code: 'StoreUnreachable', begin: store.cut, end: store.reach },
    ];
    for (const { code, begin, end } of faults) {
      const { release, sequence } = await this.#cycleBeingSent();
      await begin();
      await release();
      await this.#until(({ conditions }) => conditions.some(({ reason }) => reason === code));
      await end();
      await this.#untilApplied(sequence);
    }
    this.#say('store refusing, store away');

    // Slow is no failure: the cycle takes longer, and nothing is tried again.
    const { release, sequence } = await this.#cycleBeingSent();
    const faster = store.slow(VM);
    await release();
    const fast = await faster;
    await this.#until(({ item, conditions }) => {
      expect(conditions.map(({ reason }) => reason)).not.toContain('StoreUnreachable');
      return (item.applied?.sequence ?? 0) >= sequence;
    });
    await fast();
    this.#say('store slow');
  }

  async terminatedEntity(): Promise<void> {
    const { site } = this;
    await site.farshore.temporal.workflow.getHandle(protectedItemId('vault-01', VM)).terminate('fault injected');
    const adopted = await site.shell.json('vault', 'adopt', '--data', 'data');
    expect(adopted.value).toMatchObject({ vms: [{ vm: VM, phase: 'Protected' }] });
    const sequence = await site.sync();
    await this.#untilApplied(sequence);
    this.#say('terminated entity');
  }

  async resynchronization(): Promise<void> {
    const { site } = this;
    const before = (await this.#until(({ item }) => item.job === undefined)).item.epoch;
    await site.farshore.resynchronize(VM, true);
    const release = await this.#holdFrom(before + 1);
    await site.until(({ item }) => item.job?.task === 'Comparing the virtual disks');
    await this.#killOneByOne(AGENT, HYPERVISOR, TEMPORAL, AZURE);
    await release();
    await this.#killAtOnce(AGENT, HYPERVISOR, AZURE);
    const after = await site.untilRetried(({ item }) => item.resync === undefined && item.job === undefined);
    // One resynchronization, not two: what was killed meanwhile broke no tracking.
    expect(after.item.epoch).toBe(before + 1);
    const sequence = await site.sync();
    await this.#untilApplied(sequence);
    this.#say('resynchronization');
  }

  async plannedFailover(): Promise<void> {
    const { site, store, guest } = this;
    await this.#until(({ item }) => item.job === undefined);
    const release = await store.hold(VM);
    const { jobId } = await site.farshore.startJob(VM, 'plannedFailover');
    await this.#stuckIn('Preparing for failover');
    await this.#killOneByOne(AGENT, HYPERVISOR, TEMPORAL, PROVIDER, AZURE);
    await release();
    await this.#killAtOnce(AGENT, HYPERVISOR, AZURE, PROVIDER);
    const { item } = await this.#until(({ item: now }) => now.phase === 'FailedOver');
    await guest.stop();
    expect(item.resync).toBeUndefined();

    const result = failoverResultSchema.parse((await site.farshore.job(jobId)).result);
    for (const disk of result.disks) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
    await site.expectEqual({ replicaOf: (disk) => store.replica(VM, disk) });
    const files = await Promise.all(DISKS.map((disk) => store.replica(VM, disk)));
    const now = Date.now();
    const { last, faults } = await withFiles(files, (sources) => checkPrefix(guest, sources, now));
    expect(faults).toEqual([]);
    expect(last).toBeGreaterThanOrEqual(guest.acknowledged);
    expect(last).toBeGreaterThan(500);
    this.#say(`planned failover; the guest wrote ${guest.acknowledged} blocks, the replica holds ${last}`);
  }

  async everyRecoveryPoint(): Promise<void> {
    const { site, store, guest } = this;
    const points = await listedPoints(site, store, VM);
    const checked = [];
    for (const point of points) checked.push(await checkPoint(site, store, guest, point));
    expect(checked.flatMap(({ id, faults }) => faults.map((fault) => `${id}: ${fault}`))).toEqual([]);
    // Each holds more than the one before: none is a copy of another.
    const lasts = checked.map(({ last }) => last);
    expect(lasts).toEqual(lasts.toSorted((a, b) => a - b));
    expect(new Set(lasts).size).toBeGreaterThanOrEqual(5);
    this.#say(`${points.length} recovery points: ${lasts.join(', ')} blocks`);
  }

  /** A cycle that was cut and cannot be sent yet, as the store hangs. */
  async #cycleBeingSent(): Promise<{ release: () => Promise<void>; epoch: number; sequence: number }> {
    const { site, store } = this;
    // The first cycle after a job follows by itself, and would be the one that can't be sent.
    const idle = await this.#until(
      ({ item }) => item.job === undefined && (item.applied?.sequence ?? 0) > 1 && isBetweenCycles(item),
    );
    const release = await store.hold(VM);
    const sequence = await site.sync();
    expect(sequence).toBe(idle.item.nextSequence);
    await expect
      .poll(async () => (await site.hypervisor.describeVm(VM)).tracking?.openSequence, { timeout: 30_000, interval: 5 })
      .toBe(sequence + 1);
    return { release, epoch: idle.item.epoch, sequence };
  }

  /**
   * Kills while the next cycle has been received and cannot be applied, as the store hangs. The Azure worker stands still
   * until it does: it applies so soon after it has heard of a cycle that the cycle would be applied already.
   */
  async #whileApplying(kill: () => Promise<void>): Promise<void> {
    const { site, store } = this;
    // What the guest has written meanwhile goes before it: only a small cycle is applied within a task.
    await this.#untilApplied(await site.sync());
    const { release: send, epoch, sequence } = await this.#cycleBeingSent();
    const azure = site.running.processId(AZURE)!;
    process.kill(azure, 'SIGSTOP');
    await send();
    await expect.poll(() => this.#isPending('cutAndShip'), { timeout: 60_000, interval: 20 }).toBe(false);
    expect(await store.received(VM, epoch, sequence)).toBe(true);
    const release = await store.hold(VM);
    process.kill(azure, 'SIGCONT');
    await expect.poll(() => this.#isBeingApplied(), { timeout: 60_000, interval: 5 }).toBe(true);
    expect((await site.farshore.protectedItem(VM))?.item.applied?.sequence).toBe(sequence - 1);
    await kill();
    await release();
    await this.#untilApplied(sequence);
  }

  /** Waits until a job is stuck in its task, as the store hangs. */
  async #stuckIn(task: string): Promise<void> {
    await this.#until(({ item }) => item.job?.task === task);
  }

  /** Makes the store hang once the replica is of this epoch: before anything is copied to it. @returns what lets it go on. */
  async #holdFrom(epoch: number): Promise<() => Promise<void>> {
    await expect.poll(() => this.store.epoch(VM), { timeout: 60_000, interval: 2 }).toBeGreaterThanOrEqual(epoch);
    return this.store.hold(VM);
  }

  /** Each is back, and what it was doing was begun again, before the next dies. */
  async #killOneByOne(...names: string[]): Promise<void> {
    for (const name of names) {
      await this.site.killAndReturn(name);
      await this.site.untilRetried(({ item }) => this.#isBeingDone(item.job?.jobId));
    }
  }

  /** Has a process that is alive begun what the job, else the VM's cycle, waits for? */
  async #isBeingDone(jobId = protectedItemId('vault-01', VM)): Promise<boolean> {
    const { raw } = await this.site.farshore.temporal.workflow.getHandle(jobId).describe();
    return (raw.pendingActivities ?? []).some(({ lastWorkerIdentity }) => {
      const [, role, name, pid] = /^(\w+):(.+)@.+:(\d+)$/.exec(lastWorkerIdentity ?? '') ?? [];
      return Number(pid) === this.site.running.processId(`${role}-${name}`);
    });
  }

  /** At an instant nobody chose. */
  async #killAtOnce(...names: string[]): Promise<void> {
    await sleep(Math.random() * 300);
    await this.site.killAndReturn(...names);
  }

  /** By a task of the VM's workflow, or by an activity. */
  async #isBeingApplied(): Promise<boolean> {
    const { pendingWorkflowTask } = await this.#entity();
    const isTaskRunning = pendingWorkflowTask?.state === PENDING_WORKFLOW_TASK_STATE_STARTED;
    return isTaskRunning || (await this.#isPending('applyCycle'));
  }

  async #isPending(activity: string): Promise<boolean> {
    const { pendingActivities } = await this.#entity();
    return (pendingActivities ?? []).some(({ activityType }) => activityType?.name === activity);
  }

  async #entity() {
    return (await this.site.farshore.temporal.workflow.getHandle(protectedItemId('vault-01', VM)).describe()).raw;
  }

  async #untilApplied(sequence: number): Promise<void> {
    await this.#until(({ item }) => (item.applied?.sequence ?? 0) >= sequence);
  }

  /** Nothing on the way may need a resynchronization. */
  #until(reached: (view: ProtectedItemView) => boolean | Promise<boolean>): Promise<ProtectedItemView> {
    return this.site.untilRetried((view) => {
      expect(view.item.resync).toBeUndefined();
      return reached(view);
    });
  }

  #say(what: string): void {
    console.log(`${Math.round((performance.now() - this.#startedAt) / 1000)} s: ${what}`);
  }
}
