/**
 * Activities of all three sides, typed by the real factories, with a site that is only numbers: for the order of
 * steps, waiting and recovering, which is what workflow tests are about. The real parts are tested in their rooms.
 */
import { beatsItself } from '../../activities/keep-alive.js';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory, type Duration } from '@temporalio/common';
import { alertActivities, type Alert } from '../../activities/alerts.js';
import type { TargetActivities } from '../../activities/target.js';
import type { ShippedCycle } from '../../activities/shipped-cycle.js';
import type { SourceActivities } from '../../activities/source.js';
import type { SourceFabricActivities } from '../../activities/source-fabric.js';
import type { ResynchronizationActivities } from '../../activities/resynchronization.js';
import type { VaultActivities } from '../../activities/watch-vault.js';
import type { AppConsistentFailure } from '../../domain/app-consistency.js';
import type { FailureCode } from '../../domain/errors.js';
import { sameHostState, type HostState, type LocatedVm } from '../../domain/host.js';
import type { NamedPoint } from '../../domain/named-points.js';
import { windowOpening } from '../../domain/resync-window.js';
import { recoveryPointId } from '../../domain/vault.js';

type Activities = TargetActivities &
  SourceActivities &
  SourceFabricActivities &
  ResynchronizationActivities &
  VaultActivities;
export type ActivityName = keyof Activities;

export interface Call {
  readonly name: ActivityName;
  readonly input: Record<string, unknown>;
  /** Task queue it came by. */
  readonly queue: string;
  /** Workflow time is not known here; the test environment's is, ms. */
  readonly at: number;
}

const DISK_BYTES = 1000;
const SLICE_BYTES = 250;
/** Of an activity that is held. */
export const HEARTBEAT_MS = 100;

/** Local to the workflows: it is run by whoever runs them. */
export const resyncOpening: ResynchronizationActivities['resyncOpening'] = ({ window, now, skipOpen }) =>
  Promise.resolve({ opensAt: new Date(windowOpening(window, Date.parse(now), skipOpen)).toISOString() });

/** What a replica VM has written. */
export const WRITTEN = [
  { name: 'os', bytes: 65_536, ranges: 1 },
  { name: 'data', bytes: 0, ranges: 0 },
];

const writesOf = (lastWrite: number) => ['os', 'data'].map((name) => ({ name, lastWrite }));

async function untilCancelled(): Promise<never> {
  const { cancelled, heartbeat, info } = Context.current();
  // One that says nothing would take away what an earlier attempt has said.
  const beating = setInterval(() => heartbeat(info.heartbeatDetails), HEARTBEAT_MS);
  return cancelled.finally(() => clearInterval(beating));
}

function silently(): Promise<never> {
  const context = Context.current();
  beatsItself(context);
  return context.cancelled;
}

async function alive(until: Promise<void>): Promise<void> {
  const beating = setInterval(Context.current().heartbeat, HEARTBEAT_MS);
  await until.finally(() => clearInterval(beating));
}

export class SimulatedSite {
  readonly calls: Call[] = [];
  readonly alerts: Alert[] = [];
  webhook: string | undefined;
  /** What a comparison of each disk finds. */
  differing: { offset: number; length: number }[] = [];
  /** Where each VM is that has moved; undefined where none of the hosts has it. */
  readonly moved = new Map<string, LocatedVm | undefined>();
  host: HostState = { stopped: {} };
  /** What the board of the vault says. */
  board = 'all is well';
  /** Seldom, as each look takes the test server its time; who tests the looking asks for more. */
  lookEvery: Duration = '6 hours';
  private readonly failures = new Map<ActivityName, { left: number; error: () => Error }>();
  private readonly held = new Set<ActivityName>();
  private readonly hung = new Set<ActivityName>();
  private readonly gates = new Map<ActivityName, Promise<void>>();
  /** A VM snapshot that somebody has left. */
  snapshot: string | undefined;
  /** Cycles that were cut while the VM ran, and have not been sent. */
  readonly cutBefore = new Set<number>();
  /** As these, but of a VM that was off then, has been started, and has written since: they were final. */
  readonly finalBefore = new Set<number>();
  /** The point of a replica VM that runs already when an unplanned failover begins. */
  replicaRunsFrom: string | undefined;
  testVmRuns = false;
  /** Why the guest of a test VM does not boot. */
  testProblem: string | undefined;
  /** By how many writes the replica is behind what it says it has applied. */
  notApplied = 0;
  private epoch = 0;
  private running = true;
  replicaVm: 'Running' | 'Off' | 'NotThere' = 'NotThere';
  /** Why it is not certain what the replica holds. */
  doubt: string | undefined;
  /** How the disks of the source have changed while it was off. */
  sourceChanged: string | undefined;
  /** How often the VM was started at one site while it ran at the other. */
  startedTwice = 0;
  /** The originals are known to equal the recovery point. */
  originalUnchanged = true;
  private readonly named: NamedPoint[] = [];
  /** Why guests can't be frozen. */
  freezeFailure: AppConsistentFailure | undefined;
  private readonly writes = new Map<string, number>();

  constructor(private readonly clock: () => number | Promise<number> = Date.now) {}

  /** The next `times` calls of an activity fail so. */
  fail(name: ActivityName, code: FailureCode | 'Unexpected', times = Infinity, checkpoint?: () => number): void {
    const error = () =>
      ApplicationFailure.create({
        type: code,
        message: `simulated ${code}`,
        nonRetryable: true,
        details: checkpoint ? [{ bytesDone: checkpoint() }] : [],
      });
    this.failures.set(name, { left: times, error });
  }

  heal(name: ActivityName): void {
    this.failures.delete(name);
  }

  /** Calls of an activity do not end but by being cancelled. */
  holdUntilCancelled(name: ActivityName): void {
    this.held.add(name);
  }

  /** Calls of an activity neither end nor give a sign of life. */
  hang(name: ActivityName): void {
    this.hung.add(name);
  }

  /** Calls to come end by themselves again. */
  letEnd(name: ActivityName): void {
    this.held.delete(name);
  }

  /** The next call of an activity waits, alive, until it is let go; then it goes on as it would have. */
  gate(name: ActivityName): () => void {
    let open: () => void = () => {};
    this.gates.set(name, new Promise((resolve) => (open = resolve)));
    return open;
  }

  called(name: ActivityName, vm?: string): Call[] {
    return this.calls.filter((call) => call.name === name && (vm === undefined || call.input['vm'] === vm));
  }

  activities(): Activities {
    return this.recorded(SimulatedSite.simulated(this));
  }

  private static simulated(site: SimulatedSite): Activities {
    return {
      async checkSource() {
        return {
          disks: [
            { name: 'os', size: DISK_BYTES },
            { name: 'data', size: DISK_BYTES },
          ],
          trackedEpoch: 0,
        };
      },
      async beginReplication() {},
      async continueReplication() {
        if (site.sourceChanged !== undefined) return { problem: site.sourceChanged };
        return { disks: ['os', 'data'].map((name) => ({ name, size: DISK_BYTES })) };
      },
      async continueReplica() {},
      async endReplication() {},
      async copyDisk({ fromOffset, toOffset = DISK_BYTES }) {
        const nextOffset = Math.min(toOffset, fromOffset + SLICE_BYTES);
        return { nextOffset, sentBytes: nextOffset - fromOffset, done: nextOffset === DISK_BYTES };
      },
      async mergeSnapshot() {
        site.snapshot = undefined;
        return { bytesLeft: 0 };
      },
      async cutAndShip({ vm, epoch, sequence, tags = [], appConsistent }) {
        const finalBefore = site.finalBefore.has(sequence);
        const cutBefore = site.cutBefore.has(sequence) || finalBefore;
        const lastWrite = (site.writes.get(vm) ?? 10) + 1;
        site.writes.set(vm, lastWrite);
        const id = recoveryPointId(epoch, sequence);
        site.named.push(...tags.map((tag) => ({ tag, id })));
        const failure = site.freezeFailure;
        return {
          ...(appConsistent && (failure ? { appConsistentFailure: failure } : { appConsistent })),
          sequence,
          final: finalBefore || (!site.running && !cutBefore),
          sealedAt: await site.now(),
          bytes: 4096,
          lastWrites: writesOf(lastWrite),
          ...(!site.running && { issued: writesOf(finalBefore ? lastWrite + 1 : lastWrite) }),
        };
      },
      async checkProtectable({ vm }) {
        return {
          vm,
          host: 'host-1',
          vmmServer: 'vmm-1',
          generation: 2,
          size: 'small',
          osDisk: 'os',
          disks: ['os', 'data'].map((name) => ({ name, size: DISK_BYTES, replicaSize: DISK_BYTES })),
          networkAdapters: [],
          finalized: false,
        };
      },
      async locateVm({ vm, host }) {
        return site.moved.has(vm) ? site.moved.get(vm) : { host };
      },
      async resolveNetworks() {
        return [];
      },
      async checkFailoverSource() {
        return site.snapshot === undefined ? {} : { snapshot: site.snapshot };
      },
      async shutDownVm() {
        site.running = false;
        return { exportsClosedAt: await site.now() };
      },
      async startVm() {
        site.running = true;
        if (site.replicaVm === 'Running') site.startedTwice += 1;
      },
      async fenceVm() {
        return { isRunning: site.running };
      },
      async updateProviderState() {},
      async identifyTarget() {
        return { epoch: (site.epoch += 1) };
      },
      async prepareReplica() {},
      async verifySeed() {},
      async applyCycle({ vm, epoch, sequence }) {
        const sealedAt = await site.now();
        return {
          sequence,
          sealedAt,
          final: !site.running,
          lastWrites: writesOf((site.writes.get(vm) ?? 0) - site.notApplied),
          recoveryPoint: { id: `${epoch}-${sequence}`, time: sealedAt },
          namedPoints: [...site.named],
        };
      },
      async finalizeReplica() {},
      async checkFailoverTarget() {},
      async startFailover({ epoch }) {
        return { recoveryPoint: { id: `${epoch}-final`, time: await site.now() } };
      },
      async startReplicaVm() {
        site.startReplica();
        return { startedAt: await site.now(), disks: [{ name: 'os', nbdUri: 'nbd+unix:///os' }, { name: 'data' }] };
      },
      async checkUnplannedFailover({ wanted }) {
        return {
          failoverEpoch: site.epoch + 1,
          ...(site.replicaRunsFrom !== undefined && { runsFrom: site.replicaRunsFrom }),
          ...(wanted === 'gone' && { refusal: 'there is no such point' }),
        };
      },
      async settleRecoveryPoint({ vm, wanted }) {
        const time = await site.now();
        const lastWrites = writesOf((site.writes.get(vm) ?? 0) - site.notApplied);
        return { recoveryPoint: { id: wanted === 'latest' ? 'newest' : wanted, time }, cyclesProcessed: 2, lastWrites };
      },
      async startUnplannedFailover() {
        return { failedOverAt: await site.now() };
      },
      async checkPointChange({ vm, wanted }) {
        if (wanted === 'gone') return { refusal: `${vm} has no recovery point "gone"` };
        const time = await site.now();
        return {
          change: {
            epoch: site.epoch + 2,
            from: { id: 'before', time },
            to: { id: wanted, time, kind: 'crashConsistent' },
            replicaVm: { power: site.replicaVm, written: WRITTEN },
          },
        };
      },
      async checkReturn() {
        return { host: 'host-1', isRunning: site.running };
      },
      async checkFailoverCancellation() {
        return {
          epoch: site.epoch + 2,
          replicaVm: { power: site.replicaVm, written: WRITTEN },
          held: site.doubt === undefined ? { epoch: 1, lastWrites: { os: 11, data: 11 } } : { problem: site.doubt },
        };
      },
      async endFailover({ epoch }) {
        site.epoch = Math.max(site.epoch, epoch);
        return { recoveryPoint: { id: 'newest', time: await site.now() } };
      },
      async stopReplicaVm() {
        if (site.replicaVm === 'Running') site.replicaVm = 'Off';
        return { power: site.replicaVm, written: WRITTEN };
      },
      async deleteReplicaVm() {
        site.replicaVm = 'NotThere';
      },
      async createReplicaVmAt({ epoch }) {
        site.replicaVm = 'Off';
        site.epoch = Math.max(site.epoch, epoch);
      },
      async restartReplicaVm() {
        site.startReplica();
        return { startedAt: await site.now() };
      },
      async checkFailback() {
        // The failover, at least, has begun an epoch.
        site.epoch = Math.max(site.epoch, 2) + 1;
        return { epoch: site.epoch, disks: ['os', 'data'].map((name) => ({ name, size: DISK_BYTES })) };
      },
      async checkFailbackTarget() {
        return { disks: ['os', 'data'].map((name) => ({ name, size: DISK_BYTES })) };
      },
      async beginFailback() {
        site.replicaVm = 'Running';
        return { sealedAt: await site.now() };
      },
      async createFailbackLayers() {
        return { original: { epoch: 1, lastWrites: writesOf(10) } };
      },
      async compareOriginal() {
        return { equalsPoint: site.originalUnchanged };
      },
      async digestOriginal({ fromOffset }) {
        const nextOffset = Math.min(DISK_BYTES, fromOffset + SLICE_BYTES);
        return { nextOffset, done: nextOffset === DISK_BYTES };
      },
      async sendSnapshot({ vm }) {
        return site.cycleOfReplica(vm, 0);
      },
      async mergeReplicaSnapshot() {
        return { bytesLeft: 0 };
      },
      async sendReplicaCycle({ vm, sequence }) {
        return site.cycleOfReplica(vm, sequence);
      },
      async receiveChanges() {},
      async shutDownReplicaVm() {
        site.replicaVm = 'Off';
        return { exportsClosedAt: await site.now() };
      },
      async discardFailback() {},
      async endFailback() {},
      async handOver() {},
      async checkFailbackCancellation() {
        return { epoch: (site.epoch += 2) };
      },
      async returnToRecovery() {},
      async checkCommitFailback() {},
      async commitFailback() {},
      async removeFailedBackReplicaVm() {},
      async checkCommit() {},
      async commitFailover() {
        return { deleted: 3 };
      },
      async removeReplica() {},
      async keepReplica() {},
      async checkTestFailover({ wanted }) {
        return wanted === 'gone' ? { refusal: 'there is no such point' } : {};
      },
      async beginTestFailover({ wanted }) {
        return { recoveryPoint: { id: wanted === 'latest' ? 'newest' : wanted, time: await site.now() } };
      },
      async createTestVm() {},
      async startTestVm() {
        site.testVmRuns = true;
        return { startedAt: await site.now() };
      },
      async checkTestVm() {
        const found = { checks: [], evidence: [] };
        return site.testProblem === undefined
          ? { booted: true, passed: true, ...found }
          : { booted: false, passed: false, problem: site.testProblem, ...found };
      },
      async findTestVm() {
        return { isThere: site.testVmRuns };
      },
      async endTestFailover() {},
      async deleteTestVm() {
        site.testVmRuns = false;
      },
      async releaseTestPoint() {
        return { pointsDeleted: 0 };
      },
      async recordJob() {},
      async snapshotAndCut() {
        return { sealedAt: await site.now() };
      },
      async digestForVerification() {},
      async compareDisk({ fromOffset }) {
        const nextOffset = Math.min(DISK_BYTES, fromOffset + SLICE_BYTES);
        const ranges = fromOffset === 0 ? site.differing : [];
        return { nextOffset, done: nextOffset === DISK_BYTES, blocks: 4, differingBlocks: ranges.length, ranges };
      },
      async endVerification() {},
      async postAlert(alert) {
        site.alerts.push(alert);
        return alertActivities(site.webhook).postAlert(alert);
      },
      async watchHost({ known }) {
        if (known && sameHostState(known, site.host)) {
          Context.current().heartbeat({ heardAt: await site.now() });
          throw ApplicationFailure.create({ message: 'nothing is new', nextRetryDelay: site.lookEvery });
        }
        return site.host;
      },
      async watchVault({ known }) {
        if (known === site.board)
          throw ApplicationFailure.create({
            message: 'nothing is new',
            category: ApplicationFailureCategory.BENIGN,
          });
        return { text: site.board, digest: site.board };
      },
      async applyReceivedCycles() {
        return { cycles: 0 };
      },
      async beginResync() {},
      async digestReplica({ fromOffset = 0 }) {
        const nextOffset = Math.min(DISK_BYTES, fromOffset + SLICE_BYTES);
        return { digestBytes: 64, nextOffset, done: nextOffset === DISK_BYTES };
      },
      async endResync() {},
      resyncOpening,
    };
  }

  private startReplica(): void {
    this.replicaVm = 'Running';
    if (this.running) this.startedTwice += 1;
  }

  private async cycleOfReplica(vm: string, sequence: number): Promise<ShippedCycle> {
    const lastWrite = (this.writes.get(vm) ?? 10) + 1;
    this.writes.set(vm, lastWrite);
    return {
      ...{ sequence, final: this.replicaVm !== 'Running', sealedAt: await this.now(), bytes: 4096 },
      lastWrites: writesOf(lastWrite),
      ...(this.replicaVm !== 'Running' && { issued: writesOf(lastWrite) }),
    };
  }

  private async now(): Promise<string> {
    return new Date(await this.clock()).toISOString();
  }

  private recorded(activities: Activities): Activities {
    const wrapped: Record<string, unknown> = {};
    for (const [name, activity] of Object.entries(activities)) {
      wrapped[name] = async (input: never) => {
        const { taskQueue: queue } = Context.current().info;
        const call = { name: name as ActivityName, input, queue, at: await this.clock() };
        this.calls.push(call);
        if (this.held.has(call.name)) await untilCancelled();
        if (this.hung.has(call.name)) await silently();
        const gate = this.gates.get(call.name);
        this.gates.delete(call.name);
        if (gate) await alive(gate);
        const failure = this.failures.get(call.name);
        if (failure && failure.left > 0) {
          failure.left -= 1;
          throw failure.error();
        }
        return (activity as (input: never) => Promise<unknown>)(input);
      };
    }
    return wrapped as Activities;
  }
}
