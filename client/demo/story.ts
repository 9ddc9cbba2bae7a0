/**
 * The way of the demo's VMs to the recovery site and back: a step runs for all VMs at the same time, and prints a line for
 * each VM.
 */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { DataFolder } from '../../config/data-folder.js';
import { testFailoverResultSchema } from '../../domain/drill.js';
import {
  failbackResultSchema,
  failoverResultSchema,
  waitsForPerson,
  type FailoverResult,
  type Job,
} from '../../domain/job.js';
import { titleOf } from '../../domain/jobs/known-jobs.js';
import type { RecoveryPlan } from '../../domain/plan.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import { waitForJob } from '../commands/wait.js';
import { JobFailedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { note } from '../output.js';
import { Progress } from '../progress.js';
import { BootedGuests, newestOf } from './booted-guests.js';
import type { DemoDisk } from './demo-site.js';
import { bootedTransactions } from './guest/console.js';
import type { DemoGuests, Side, Written } from './guests.js';
import { bringToRest } from './rest.js';
import { tryForbiddenWrite } from './writing-guests.js';

/** The steps, in the order in which they begin; a commit follows the failover, and another one the failback. */
export const storySteps = ['testFailover', 'plannedFailover', 'commit', 'failback', 'reverseReplicate'] as const;
type StepName = (typeof storySteps)[number];

export interface StoryStep {
  readonly step: StepName;
  readonly vm: string;
  readonly ok: boolean;
  /** Whether the guest had booted and was working when the step had ended. */
  readonly booted: boolean;
  /** From the request until the guest worked. */
  readonly seconds: number;
}

/** The number of a VM's newest transaction, as its booted guest told it. */
export interface VmTransactions {
  readonly vm: string;
  /** What the test VM found. */
  atTest: number;
  /** What the source left when it shut down for the failover, and what the replica VM found. */
  atSource: number;
  atRecovery: number;
  /** What the replica VM left when it shut down for the failback, and what the VM found at the primary site. */
  leftAtRecovery: number;
  afterFailback: number;
}

export interface Screenshot {
  readonly vm: string;
  readonly path: string;
  readonly sha256: string;
}

export interface StoryOptions {
  readonly farshore: Farshore;
  readonly data: DataFolder;
  readonly host: string;
  readonly store: ReplicaStore;
  readonly guests: DemoGuests;
  readonly disks: readonly DemoDisk[];
  readonly vms: readonly string[];
  /** Folder for the screenshots. */
  readonly screens: string;
}

interface Outcome {
  readonly text: string;
  readonly ok?: boolean;
  /** @default whether the VM's guest is booted where the VM runs */
  readonly booted?: boolean;
}

export class Story {
  readonly steps: StoryStep[] = [];
  readonly transactions: VmTransactions[];
  readonly screenshots: Screenshot[] = [];
  readonly failovers = new Map<string, FailoverResult>();
  /** What the guests had written when they last ended. */
  written: Written[] = [];
  #side: Side = 'primary';
  readonly #hypervisor: HypervisorClient;
  readonly #progress = new Progress();

  constructor(private readonly options: StoryOptions) {
    const none = { atTest: 0, atSource: 0, atRecovery: 0, leftAtRecovery: 0, afterFailback: 0 };
    this.#hypervisor = new HypervisorClient(options.data.hypervisorControl(options.host));
    this.transactions = options.vms.map((vm) => ({ vm, ...none }));
  }

  async testFailover(): Promise<void> {
    const { farshore, guests, store } = this.options;
    const appliedBefore = new Map<string, number>();
    await this.#step('testFailover', 'Test failover', async (vm) => {
      appliedBefore.set(vm, (await farshore.protectedItem(vm))?.item.applied?.sequence ?? 0);
      const { jobId } = await farshore.testFailover(vm, { reason: 'the demo' });
      const result = testFailoverResultSchema.parse((await this.#succeeded(jobId)).result);
      const evidence = async (name: string) => {
        const found = result.evidence.find((each) => path.posix.basename(each.name) === name);
        return found && { ...found, data: (await store.objects.get(found.name))! };
      };
      if (!guests.areBooted) return { text: `its disks were served, beside the VM's own`, booted: false };
      const console = (await evidence('console.log'))?.data.toString() ?? '';
      const transactions = this.#of(vm);
      transactions.atTest = newestOf(bootedTransactions<string>(console).at(-1));
      const screen = await evidence('screen.png');
      if (screen) this.screenshots.push(await this.#keepScreen(vm, screen.data, screen.sha256));
      const shown = this.screenshots.find((each) => each.vm === vm);
      return {
        ok: result.passed && shown !== undefined,
        booted: result.booted,
        text: `the copy booted with transaction ${transactions.atTest}${result.passed ? '' : `, but ${result.problem}`}; its screen: ${shown?.path ?? 'none'}`,
      };
    });
    await this.#forAll(async (vm) => {
      await this.#succeeded((await farshore.cleanUpTestFailover(vm, 'the demo')).jobId);
      await farshore.followVm(vm, (view) => (view?.item.applied?.sequence ?? 0) > appliedBefore.get(vm)!);
    });
    note('The copies are deleted. Replication has continued: a cycle of each VM was applied since');
  }

  /** @returns the ID of the plan's run. */
  async failOver(plan: RecoveryPlan): Promise<string> {
    const { farshore, guests } = this.options;
    const sourceUri = await this.sourceUris();
    this.written = [];
    const id = await farshore.runPlan(plan, 'planned');
    let phase = '';
    const run = farshore.followPlanRun(id, (seen) => {
      if (seen.phase !== phase) this.say(`  ${(phase = seen.phase)}`);
    });
    const ended = run.then(({ state, failure }) => {
      if (state !== 'Succeeded') throw new JobFailedError(`recovery plan: ${failure ?? state}`);
    });
    const steps = this.#step(
      'plannedFailover',
      'Planned failover',
      async (vm) => {
        const view = await farshore.followVm(vm, (seen) => seen?.item.phase === 'FailedOver' && !seen.item.job);
        const { id: jobId } = view!.item.recentJobs.find(({ kind }) => kind === 'plannedFailover')!;
        const result = failoverResultSchema.parse((await farshore.job(jobId)).result);
        this.failovers.set(vm, result);
        const written = await guests.ended(vm);
        this.written.push(...written);
        await guests.begin(vm, 'recovery', (disk) => replicaUri(result, disk));
        const refused = await Promise.all(this.#disksOf(vm).map((disk) => tryForbiddenWrite(sourceUri(disk))));
        const nothingLost = lastWritesText(result.disks);
        if (!(guests instanceof BootedGuests)) return { text: `${nothingLost}; at the source: ${refused[0]}` };
        const transactions = this.#of(vm);
        const found = await guests.found(vm, 'recovery');
        const atSource = (transactions.atSource = newestWritten(written));
        const atRecovery = (transactions.atRecovery = newestOf(found));
        return {
          ok: areFound(written, found),
          text: `${nothingLost}; shut down with transaction ${atSource}, booted with ${atRecovery}`,
        };
      },
      'recovery',
    );
    await Promise.all([ended, steps]);
    return id;
  }

  async commit(): Promise<void> {
    const { farshore } = this.options;
    await this.#step('commit', 'Commit', async (vm) => {
      await this.#succeeded((await farshore.startJob(vm, 'commitFailover')).jobId);
      return { text: this.#side === 'recovery' ? 'it stays at the recovery site' : 'it stays at the primary site' };
    });
  }

  async failBack(): Promise<void> {
    const { farshore, guests } = this.options;
    this.written = [];
    await this.#step(
      'failback',
      'Failback',
      async (vm) => {
        const { jobId } = await farshore.startJob(vm, 'failback', { synchronize: 'during' });
        const result = failbackResultSchema.parse((await this.#succeeded(jobId)).result);
        const written = await guests.ended(vm);
        const sourceUri = await this.sourceUris();
        await guests.begin(vm, 'primary', sourceUri);
        const nothingLost = lastWritesText(result.disks);
        if (!(guests instanceof BootedGuests)) return { text: nothingLost };
        const transactions = this.#of(vm);
        const found = await guests.found(vm, 'primary');
        const leftAtRecovery = (transactions.leftAtRecovery = newestWritten(written));
        const afterFailback = (transactions.afterFailback = newestOf(found));
        return {
          ok: areFound(written, found),
          text: `${nothingLost}; shut down with transaction ${leftAtRecovery}, booted with ${afterFailback}`,
        };
      },
      'primary',
    );
  }

  async reverseReplicate(): Promise<void> {
    const { farshore } = this.options;
    await this.#step('reverseReplicate', 'Reverse replicate', async (vm) => {
      await this.#succeeded((await farshore.startJob(vm, 'reverseReplicate')).jobId);
      await farshore.followVm(
        vm,
        (view) => view?.item.phase === 'Protected' && !view.item.job && !view.item.resync && !view.item.pending.length,
        (view) => {
          const job = view?.item.job;
          if (!job) return;
          const { task, progress, retry } = job;
          const name = `${titleOf(job.kind)}${task === undefined ? '' : `: ${task}`}`;
          this.#progress.update(vm, { name, bytes: progress, remark: retry?.failure.message });
          if (waitsForPerson(job)) throw new JobFailedError(`${vm}: ${retry!.failure.message}`);
        },
      );
      return { text: 'protected again' };
    });
  }

  /**
   * Shuts the VMs down at the primary site, and has the replicas catch up: then the disks of both sites are at rest.
   */
  async rest(): Promise<void> {
    const { farshore, guests } = this.options;
    this.written = [];
    await this.#forAll(async (vm) => {
      await bringToRest(farshore, this.#hypervisor, vm);
      this.written.push(...(await guests.ended(vm)));
    });
  }

  /** The NBD URIs of the source disks, as long as their VMs run. */
  async sourceUris(): Promise<(disk: DemoDisk) => string> {
    const vms = await this.#hypervisor.listVms();
    return ({ vm, name }) => {
      const uri = vms.find((each) => each.name === vm)?.disks.find((disk) => disk.name === name)?.nbdUri;
      if (uri === undefined) throw new Error(`disk ${name} of ${vm} is not served`);
      return uri;
    };
  }

  async #step(step: StepName, title: string, run: (vm: string) => Promise<Outcome>, to = this.#side): Promise<void> {
    const startedAt = performance.now();
    const ended = await this.#forAll(async (vm) => {
      const { text, ok = true, booted } = await run(vm);
      const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
      this.say(`${title} of ${vm}: ${ok ? '' : 'NOT OK: '}${text} (${seconds} s)`);
      return { step, vm, ok, booted: booted ?? (await this.options.guests.isBooted(vm, to)), seconds };
    });
    this.#side = to;
    this.steps.push(...ended);
  }

  async #forAll<T>(run: (vm: string) => Promise<T>): Promise<T[]> {
    const done = await Promise.all(this.options.vms.map(run));
    this.#progress.close();
    return done;
  }

  /** The demo has no operator, so a job that waits for one ends it. @throws JobFailedError */
  async #succeeded(jobId: string): Promise<Job> {
    const job = await waitForJob(this.options.farshore, jobId, this.#progress);
    if (job.state === 'Succeeded') return job;
    throw new JobFailedError(
      `${titleOf(job.kind)} of ${job.vm}: ${(job.failure ?? job.retry?.failure)?.message ?? job.state}`,
    );
  }

  async #keepScreen(vm: string, image: Buffer, sha256: string): Promise<Screenshot> {
    if (createHash('sha256').update(image).digest('hex') !== sha256)
      throw new Error(`the screenshot of ${vm} in the store is not the one that its job has taken`);
    const file = path.join(this.options.screens, `${vm}-test.png`);
    await mkdir(this.options.screens, { recursive: true });
    await writeFile(file, image);
    return { vm, path: file, sha256 };
  }

  /** Prints a line for the operator, below the bars that show the progress. */
  say(line: string): void {
    this.#progress.close();
    note(line);
  }

  #of(vm: string): VmTransactions {
    return this.transactions.find((each) => each.vm === vm)!;
  }

  #disksOf(vm: string): DemoDisk[] {
    return this.options.disks.filter((disk) => disk.vm === vm);
  }
}

/** @throws Error if the replica VM does not serve the disk */
function replicaUri(failover: FailoverResult, { vm, name }: DemoDisk): string {
  const uri = failover.replicaDisks.find((disk) => disk.name === name)?.nbdUri;
  if (uri === undefined) throw new Error(`the replica VM ${vm} does not serve disk ${name}`);
  return uri;
}

const lastWritesText = (disks: FailoverResult['disks']): string =>
  disks
    .map(
      ({ name, lastWriteIssued, lastWriteApplied }) => `${name}: last write ${lastWriteIssued} = ${lastWriteApplied}`,
    )
    .join(', ');

const newestWritten = (written: readonly Written[]): number => Math.max(0, ...written.map(({ newest }) => newest));

/** Whether the next guest has found on each disk exactly what the guest before had written. */
export const areFound = (written: readonly Written[], found: Readonly<Record<string, number>>): boolean =>
  written.length > 0 && written.every(({ disk, newest }) => found[disk] === newest);
