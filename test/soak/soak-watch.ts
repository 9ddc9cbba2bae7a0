/** Those who look after a site in a soak run: an administrator who retries and resynchronizes, and one who checks every recovery point. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyResultSchema } from '../../domain/job.js';
import type { OrderedGuest } from '../faults/ordered-guest.js';
import { checkPoint } from '../faults/recovery-points-check.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { SoakWorld } from './soak-world.js';

/** A VM that comes no further for this long, with an administrator who retries, is stuck, ms. */
const STUCK_AFTER_MS = 4 * 60_000;

export class SoakWatch {
  readonly checkedPoints = new Set<string>();
  verified = 0;
  resynchronizations = 0;
  longestRpo = 0;
  #over = false;
  readonly #replayProblems = new Set<string>();
  readonly #progress = new Map<string, { state: string; at: number }>();
  readonly #applied = new Map<string, { epoch: number; sequence: number }>();

  constructor(
    private readonly world: SoakWorld,
    private readonly guests: readonly OrderedGuest[],
  ) {}

  start(): () => Promise<void> {
    const ends = [...this.world.vms.map((vm) => this.#administrate(vm)), this.#check()];
    return async () => {
      this.#over = true;
      await Promise.all(ends);
    };
  }

  find(what: string): void {
    this.world.find(what);
  }

  async #administrate(vm: string): Promise<void> {
    const { site } = this.world;
    while (!this.#over) {
      const view = await site.farshore.protectedItem(vm).catch(() => undefined);
      if (view) await this.#look(vm, view);
      await sleep(500);
    }
  }

  async #look(vm: string, view: ProtectedItemView): Promise<void> {
    const { site, marks } = this.world;
    const { item, operations, rpoSeconds: rpo } = view;
    if (rpo !== undefined) this.longestRpo = Math.max(this.longestRpo, rpo);
    if (rpo !== undefined && rpo < 0) this.find(`${vm}: an RPO of ${rpo} s`);
    const before = this.#applied.get(vm);
    const { applied } = item;
    if (applied) {
      const now = { epoch: item.epoch, sequence: applied.sequence };
      if (before && (now.epoch < before.epoch || (now.epoch === before.epoch && now.sequence < before.sequence))) {
        this.find(`${vm}: went back from ${before.epoch}-${before.sequence} to ${now.epoch}-${now.sequence}`);
      }
      this.#applied.set(vm, now);
    }
    if (item.resync && !item.job && !/asked/i.test(item.resync.cause)) {
      if (!marks.isExplained(vm, item.resync)) this.find(`${vm}: marked for resynchronization: ${item.resync.cause}`);
    }
    if (item.retry || item.job?.retry) await site.farshore.retry(vm).catch(() => undefined);
    if (item.resync && !item.job && operations.resynchronize.allowed) {
      this.resynchronizations += 1;
      await site.farshore.resynchronize(vm, true).catch(() => undefined);
    }
    const state = JSON.stringify([item.phase, item.epoch, applied, item.job?.jobId, item.job?.task, item.paused]);
    const last = this.#progress.get(vm);
    if (last?.state !== state) this.#progress.set(vm, { state, at: Date.now() });
    else if (Date.now() - last.at > STUCK_AFTER_MS && item.phase === 'Protected') {
      this.find(`${vm}: stuck for ${STUCK_AFTER_MS / 60_000} min: ${JSON.stringify(view)}`);
      this.#progress.set(vm, { state, at: Date.now() });
    }
  }

  async #check(): Promise<void> {
    while (!this.#over) {
      await this.checkNewPoints();
      await this.#checkVerifications();
      await sleep(2_000);
    }
  }

  /** Points that are refused while the store is away are tried again the next time. */
  async checkNewPoints(): Promise<void> {
    const { site, store } = this.world;
    for (const guest of this.guests) {
      const points = await store.points(guest.vm).catch(() => []);
      for (const point of points) {
        const key = `${guest.vm}/${point.id}`;
        if (this.checkedPoints.has(key)) continue;
        const report = await checkPoint(site, store, guest, point).catch(() => undefined);
        if (!report && this.world.damaged.some((name) => name.includes(point.id))) this.checkedPoints.add(key);
        if (!report) continue;
        this.checkedPoints.add(key);
        for (const fault of report.faults) this.find(`${guest.vm}, recovery point ${point.id}: ${fault}`);
      }
    }
  }

  /** A workflow that does not replay as it ran is stuck for good: the worker that runs it says so. */
  async checkWorkflows(): Promise<void> {
    const log = await readFile(this.world.site.data.log(`azure-${this.world.site.vault}`), 'utf8');
    for (const [, problem] of log.matchAll(/(Nondeterminism error: [^"\\\\]*)/g)) {
      if (this.#replayProblems.has(problem!)) continue;
      this.#replayProblems.add(problem!);
      this.find(problem!);
    }
  }

  async #checkVerifications(): Promise<void> {
    const { site, verifications } = this.world;
    for (const jobId of [...verifications]) {
      const job = await site.farshore.job(jobId).catch(() => undefined);
      if (!job || job.state === 'InProgress') continue;
      verifications.splice(verifications.indexOf(jobId), 1);
      if (job.state !== 'Succeeded') continue;
      this.verified += 1;
      const result = verifyResultSchema.parse(job.result);
      if (!result.equal) this.find(`${jobId}: ${JSON.stringify(result)}`);
    }
  }
}
