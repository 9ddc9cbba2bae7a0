/** Implements the ports of both sites over the control interface of an embedded hypervisor process. */
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { ReadableDisk } from '../../disks/disk.js';
import { openDisk } from '../../disks/open-disk.js';
import { RawDisk } from '../../disks/raw.js';
import { CatalogueError, type FailureCode } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Range } from '../../domain/ranges.js';
import { diskFormats } from '../../domain/site.js';
import { openLogChangeSet } from '../../tracking/log-change-set.js';
import type { ChangeSet, ChangeSource, Cut, CutIdentity, CutOptions, WrittenState } from '../../ports/change-source.js';
import type { FailbackLayers, FailbackState } from '../../ports/failback-target.js';
import type { HypervisorVm } from '../../ports/hypervisor-vm.js';
import type { Hypervisor, ShutDownResult } from '../../ports/hypervisor.js';
import type { RecoveryCompute, ReplicaVmSpec, WhichVm, WrittenOptions } from '../../ports/recovery-compute.js';
import type { VmFileKeeper, VmFileKind, VmFiles } from '../../ports/vm-files.js';
import type { RunInGuest, TestVm, TestVmSpec } from '../../ports/test-vms.js';
import {
  changeOperations,
  controlFailureSchema,
  hypervisorOperations,
  recoveryOperations,
  type Operations,
} from './control-protocol.js';
import type { SnapshotFile } from './embedded-changes.js';
import { openReplicaDisk, type PointDisks } from './replica-disk.js';
import { ServedLayers } from './served-layers.js';
import type { WrittenPage } from './vm-disks.js';

/**
 * A source of changes at either site. It reads change logs from their files and asks the hypervisor for everything
 * else.
 */
abstract class ChangesClient implements ChangeSource {
  readonly #control: ControlClient<typeof changeOperations>;

  constructor(socketPath: string, unreachable: FailureCode) {
    this.#control = new ControlClient(socketPath, changeOperations, unreachable);
  }

  listVms(): Promise<HypervisorVm[]> {
    return this.#control.call('listVms', {});
  }

  describeVm(vm: string): Promise<HypervisorVm> {
    return this.#control.call('describeVm', { vm });
  }

  async beginReplication(vm: string, epoch: number): Promise<void> {
    await this.#control.call('beginReplication', { vm, epoch });
  }

  async continueReplication(vm: string, epoch: number, { lastWrites, ...state }: WrittenState): Promise<void> {
    const unchangedSince = { ...state, lastWrites: { ...lastWrites } };
    await this.#control.call('continueReplication', { vm, epoch, unchangedSince });
  }

  async endReplication(vm: string, ofEpoch?: number): Promise<void> {
    await this.#control.call('endReplication', { vm, ...(ofEpoch !== undefined && { ofEpoch }) });
  }

  /** The caller may read the base files of the disks: while a VM has a snapshot, nobody writes to them. */
  async openSnapshotDisk(vm: string, epoch: number, disk: string): Promise<ReadableDisk> {
    return this.openSnapshotFile(await this.#control.call('snapshotFile', { vm, epoch, disk }), vm);
  }

  protected abstract openSnapshotFile(file: SnapshotFile, vm: string): Promise<ReadableDisk>;

  mergeSnapshot(vm: string): Promise<number> {
    return this.#control.call('mergeSnapshot', { vm });
  }

  cut(vm: string, { epoch, sequence }: Fence, options: CutOptions = {}): Promise<Cut> {
    return this.#control.call('cut', { vm, fence: { epoch, sequence }, ...options });
  }

  snapshotAndCut(vm: string, fence: Fence): Promise<Cut> {
    return this.#control.call('snapshotAndCut', { vm, fence: { epoch: fence.epoch, sequence: fence.sequence } });
  }

  async openChangeSet(cut: Cut): Promise<ChangeSet> {
    const { disks } = await this.describeVm(cut.vm);
    return openLogChangeSet(
      cut.disks.map(({ name, size, token, lastWrite }) => {
        const disk = disks.find((candidate) => candidate.name === name);
        if (!disk) throw new CatalogueError('DiskMissing', `${cut.vm} has no disk ${name} any more`);
        const { vm, epoch, sequence } = cut;
        return { path: join(dirname(disk.path), token), vm, disk: name, diskSize: size, epoch, sequence, lastWrite };
      }),
    );
  }

  async releaseCuts({ vm, epoch, sequence, disks }: CutIdentity): Promise<void> {
    const tokens = disks.map(({ name, token }) => ({ name, token }));
    await this.#control.call('releaseCuts', { vm, epoch, sequence, disks: tokens });
  }
}

/** The hypervisor of this machine. */
export class HypervisorClient extends ChangesClient implements Hypervisor, VmFileKeeper {
  readonly #control: ControlClient<typeof hypervisorOperations>;

  constructor(socketPath: string) {
    super(socketPath, 'HypervisorUnreachable');
    this.#control = new ControlClient(socketPath, hypervisorOperations, 'HypervisorUnreachable');
  }

  async startVm(vm: string, epoch: number): Promise<void> {
    await this.#control.call('startVm', { vm, epoch });
  }

  shutDownVm(vm: string): Promise<ShutDownResult> {
    return this.#control.call('shutDownVm', { vm });
  }

  async turnOffVm(vm: string): Promise<void> {
    await this.#control.call('turnOffVm', { vm });
  }

  async fenceVm(vm: string, epoch: number): Promise<void> {
    await this.#control.call('fenceVm', { vm, epoch });
  }

  beginFailback(vm: string, epoch: number): Promise<FailbackState> {
    return this.#control.call('beginFailback', { vm, epoch });
  }

  async openFailback(vm: string, { epoch, sequence }: Fence): Promise<FailbackLayers | undefined> {
    const fence = { epoch, sequence };
    const served = await this.#control.call('serveFailback', { vm, fence });
    if (!served) return undefined;
    const complete = async () => void (await this.#control.call('completeFailback', { vm, fence }));
    return ServedLayers.connect(vm, served, complete);
  }

  async commitFailback(vm: string, epoch: number): Promise<void> {
    await this.#control.call('commitFailback', { vm, epoch });
  }

  async discardFailback(vm: string, epoch: number): Promise<void> {
    await this.#control.call('discardFailback', { vm, epoch });
  }

  listFiles(): Promise<VmFiles[]> {
    return this.#control.call('listFiles', {});
  }

  async removeFiles(kind: VmFileKind, vm: string): Promise<void> {
    await this.#control.call('removeFiles', { kind, vm });
  }

  protected override async openSnapshotFile({ path, format, size, file }: SnapshotFile, vm: string) {
    const base = await openDisk(path, z.enum(diskFormats).parse(format), { readOnly: true });
    const replaced = file !== undefined && base instanceof RawDisk && (await base.fileKey()) !== file;
    if (base.size === size && !replaced) return base;
    await base.close();
    if (replaced) throw new CatalogueError('BrokenChain', `${path} is another file than the one that ${vm} has open`);
    throw new CatalogueError('BrokenChain', `${path} has ${base.size} bytes, the hypervisor says ${size}`);
  }
}

export class RecoveryComputeClient extends ChangesClient implements RecoveryCompute, VmFileKeeper {
  readonly #control: ControlClient<typeof recoveryOperations>;

  /**
   * @param points the store's recovery points, from which replica VMs are made; needed only to read the VMs' snapshots.
   */
  constructor(
    socketPath: string,
    private readonly points?: PointDisks,
  ) {
    super(socketPath, 'RecoverySideNotAnswering');
    this.#control = new ControlClient(socketPath, recoveryOperations, 'RecoverySideNotAnswering');
  }

  async createVm(spec: ReplicaVmSpec): Promise<void> {
    await this.#control.call('createVm', spec);
  }

  startVm(vm: string, epoch: number): Promise<HypervisorVm> {
    return this.#control.call('startVm', { vm, epoch });
  }

  shutDownVm(vm: string): Promise<ShutDownResult> {
    return this.#control.call('shutDownVm', { vm });
  }

  async turnOffVm(vm: string, which: WhichVm = {}): Promise<void> {
    await this.#control.call('turnOffVm', { vm, ...which });
  }

  async deleteVm(vm: string, which: WhichVm = {}): Promise<void> {
    await this.#control.call('deleteVm', { vm, ...which });
  }

  async *listWritten(vm: string, disk: string, options: WrittenOptions = {}): AsyncGenerator<readonly Range[]> {
    for (let from: number | undefined = 0; from !== undefined;) {
      const { ranges, next }: WrittenPage = await this.#control.call('listWritten', { vm, disk, from, ...options });
      yield ranges;
      from = next;
    }
  }

  listTestVms(): Promise<TestVm[]> {
    return this.#control.call('listTestVms', {});
  }

  async createTestVm(spec: TestVmSpec): Promise<void> {
    await this.#control.call('createTestVm', spec);
  }

  startTestVm(vm: string): Promise<TestVm> {
    return this.#control.call('startTestVm', { vm });
  }

  async turnOffTestVm(vm: string): Promise<void> {
    await this.#control.call('turnOffTestVm', { vm });
  }

  async deleteTestVm(vm: string): Promise<void> {
    await this.#control.call('deleteTestVm', { vm });
  }

  async readTestConsole(vm: string): Promise<Buffer> {
    return Buffer.from(await this.#control.call('readTestConsole', { vm }), 'base64');
  }

  async readTestScreen(vm: string): Promise<Buffer | undefined> {
    const screen = await this.#control.call('readTestScreen', { vm });
    return screen === null ? undefined : Buffer.from(screen, 'base64');
  }

  runInTestVm(vm: string, command: readonly string[], limitMs: number): Promise<RunInGuest> {
    return this.#control.call('runInTestVm', { vm, command: [...command], limitMs });
  }

  listFiles(): Promise<VmFiles[]> {
    return this.#control.call('listFiles', {});
  }

  async removeFiles(kind: VmFileKind, vm: string): Promise<void> {
    await this.#control.call('removeFiles', { kind, vm });
  }

  protected override openSnapshotFile({ path, size, point }: SnapshotFile, vm: string): Promise<ReadableDisk> {
    if (!this.points || !point) throw new Error(`${vm}: a snapshot is read together with the store`);
    return openReplicaDisk(path, size, point, this.points, { readOnly: true });
  }
}

/** @throws CatalogueError the error that the other side threw, or `unreachable` if it does not answer. */
class ControlClient<T extends Operations> {
  constructor(
    private readonly socketPath: string,
    private readonly operations: T,
    private readonly unreachable: FailureCode,
  ) {}

  async call<K extends keyof T & string>(name: K, input: z.input<T[K]['input']>): Promise<z.output<T[K]['output']>> {
    const { output, timeoutMs } = this.operations[name]!;
    const { status, text } = await this.#post(name, JSON.stringify(input), timeoutMs).catch((error: unknown) => {
      throw new CatalogueError(this.unreachable, `${this.socketPath}, ${name}: ${(error as Error).message}`, {
        cause: error,
      });
    });
    const answer: unknown = JSON.parse(text);
    if (status === 200) return output.parse((answer as { result: unknown }).result) as z.output<T[K]['output']>;
    const failure = controlFailureSchema.parse(answer);
    if (failure.code === 'Unexpected') throw new Error(failure.detail);
    throw new CatalogueError(failure.code, failure.detail);
  }

  #post(name: string, body: string, timeoutMs: number): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const options = { socketPath: this.socketPath, path: `/${name}`, method: 'POST', headers, agent: false };
      const post = request({ ...options, signal: AbortSignal.timeout(timeoutMs) }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          if (!response.complete) reject(new Error('the answer was cut off'));
          else resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
        });
      });
      post.on('error', reject);
      post.end(body);
    });
  }
}
