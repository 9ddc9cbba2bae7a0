/**
 * How much change tracking costs a guest: fio writes over NBD to a tracked disk of our hypervisor, and to the same kind
 * of disk behind qemu-nbd, which does not track. Both are in the write-back mode that guests see: acknowledged writes
 * may be in the operating system's cache until the guest flushes, and fio does flush.
 */
import { access, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { HypervisorClient } from '../sites/hypervisor/control-client.js';
import { required, type Bench, type Outcome, type Target } from './figures.js';
import { createSparse } from './images.js';
import { measurePairs, spread } from './pairs.js';
import { missingProgram, run, startListener, startOurs, versionOf } from './programs.js';
import { withScratch } from './scratch.js';

const MiB = 2 ** 20;
const DISK_BYTES = 4096 * MiB;
/** The region of the disk that is written, bytes; the logs of one round must stay below half the disk. */
const REGION_BYTES = 512 * MiB;
const VM = 'bench-01';
const DISK = 'os';
const EPOCH = 1;
/** A file system in memory, so that the disk is not the bottleneck. */
const MEMORY_FOLDER = '/dev/shm';

interface Load {
  readonly name: string;
  readonly fio: readonly string[];
  /** The result of a run: MiB/s, or flushed writes per second. More is better. */
  readonly figure: 'bandwidth' | 'operations';
  readonly unit: string;
}

const SEQUENTIAL: Load = {
  name: 'sequential 1 MiB writes, flushed at the end',
  fio: ['--rw=write', '--bs=1M', '--iodepth=16', '--end_fsync=1'],
  figure: 'bandwidth',
  unit: 'MiB/s',
};
const FLUSHED: Load = {
  name: 'random 4 KiB writes, a flush after each',
  fio: ['--rw=randwrite', '--bs=4k', '--iodepth=1', '--fsync=1', '--time_based', '--runtime=4'],
  figure: 'operations',
  unit: 'writes/s',
};

interface Measurement {
  readonly name: string;
  readonly load: Load;
  /** The folder for the disk; undefined for the folder of temporary files. */
  readonly parent: string | undefined;
  readonly targets: readonly Target[];
}

const measurements: readonly Measurement[] = [
  {
    name: `guest writes, disk: ${SEQUENTIAL.name}, tracked / untracked`,
    load: SEQUENTIAL,
    parent: undefined,
    targets: [required('at least', 0.4)],
  },
  {
    name: `guest writes, memory: ${SEQUENTIAL.name}, tracked / untracked`,
    load: SEQUENTIAL,
    parent: MEMORY_FOLDER,
    targets: [required('at least', 0.6)],
  },
  {
    name: `guest writes, disk: ${FLUSHED.name}, tracked / untracked`,
    load: FLUSHED,
    parent: undefined,
    targets: [required('at least', 0.5)],
  },
];

export const guestWrites: Bench = {
  name: 'guest-writes',
  summary: 'writes of a guest to a tracked disk, against an untracked one behind qemu-nbd',
  run: async (say) => {
    const outcomes: Outcome[] = [];
    for (const measurement of measurements) {
      say(measurement.name);
      outcomes.push(await measure(measurement, say));
    }
    return outcomes;
  },
};

async function measure({ name, load, parent, targets }: Measurement, say: (line: string) => void): Promise<Outcome> {
  const missing = missingProgram('fio', 'qemu-nbd') ?? (await missingFolder(parent));
  if (missing !== undefined) return { name, missing };
  return await withScratch(async (folder) => {
    const ours = await TrackedDisk.start(path.join(folder, 'ours'));
    try {
      const peerFolder = path.join(folder, 'peer');
      const peer = await startUntracked(peerFolder);
      try {
        const pairs = await measurePairs(
          async () => {
            const figure = await fio(ours.uri, load);
            await ours.dropLogs();
            return figure;
          },
          () => fio(peer.uri, load),
          say,
        );
        return {
          name,
          unit: 'ratio',
          samples: pairs.map((pair) => pair.ours / pair.peer),
          targets,
          details: [
            `ours ${spread(
              pairs.map((pair) => pair.ours),
              load.unit,
              0,
            )}`,
            `peer ${spread(
              pairs.map((pair) => pair.peer),
              load.unit,
              0,
            )}: ${versionOf('qemu-nbd')}, cache=writeback`,
            `client of both: ${versionOf('fio')}, ioengine=nbd`,
          ],
        };
      } finally {
        await peer.stop();
      }
    } finally {
      await ours.stop();
    }
  }, parent);
}

async function missingFolder(folder: string | undefined): Promise<string | undefined> {
  if (folder === undefined) return undefined;
  return await access(folder).then(
    () => undefined,
    () => folder,
  );
}

/** A disk of a VM with its own hypervisor process. It is tracked as between two cycles, without a VM snapshot. */
class TrackedDisk {
  #sequence = 1;

  private constructor(
    readonly uri: string,
    private readonly hypervisor: HypervisorClient,
    readonly stop: () => Promise<void>,
  ) {}

  static async start(folder: string): Promise<TrackedDisk> {
    await mkdir(folder);
    const image = path.join(folder, 'os.raw');
    await createSparse(image, DISK_BYTES);
    const controlSocket = path.join(folder, 'control.sock');
    const config = {
      stateFolder: path.join(folder, 'state'),
      controlSocket,
      nbdSocketFolder: path.join(folder, 'nbd'),
      vms: [{ name: VM, disks: [{ name: DISK, path: image, format: 'raw' }] }],
    };
    const configFile = path.join(folder, 'config.json');
    await writeFile(configFile, JSON.stringify(config));
    const { stop } = await startOurs('instance/hypervisor-main', configFile);
    try {
      const hypervisor = new HypervisorClient(controlSocket);
      await hypervisor.startVm(VM, EPOCH);
      await hypervisor.beginReplication(VM, EPOCH);
      while ((await hypervisor.mergeSnapshot(VM)) > 0);
      const { disks } = await hypervisor.describeVm(VM);
      return new TrackedDisk(disks[0]!.nbdUri!, hypervisor, stop);
    } catch (error) {
      await stop();
      throw error;
    }
  }

  /**
   * Drops the logs, as after a cycle was sent.
   * @throws CatalogueError ResyncRequired if not every write was tracked.
   */
  async dropLogs(): Promise<void> {
    const fence = { epoch: EPOCH, sequence: this.#sequence };
    await this.hypervisor.releaseCuts(await this.hypervisor.cut(VM, fence));
    this.#sequence += 1;
  }
}

async function startUntracked(folder: string): Promise<{ uri: string; stop: () => Promise<void> }> {
  await mkdir(folder);
  const image = path.join(folder, 'os.raw');
  await createSparse(image, DISK_BYTES);
  const socket = path.join(folder, 'nbd.sock');
  const options = ['--format=raw', '--cache=writeback', '--persistent', `--socket=${socket}`];
  const { stop } = await startListener(socket, 'qemu-nbd', ...options, image);
  return { uri: `nbd+unix:///?socket=${socket}`, stop };
}

const fioReportSchema = z.object({
  jobs: z.array(z.object({ write: z.object({ io_bytes: z.number(), total_ios: z.number(), runtime: z.number() }) })),
});

/** @returns MiB or operations per second, including the time of the flushes. */
async function fio(uri: string, load: Load): Promise<number> {
  const printed = await run(
    'fio',
    ...['--name=guest', '--ioengine=nbd', `--uri=${uri}`, `--size=${REGION_BYTES}`, '--output-format=json'],
    ...load.fio,
  );
  // fio may print messages before the JSON object.
  const { jobs } = fioReportSchema.parse(JSON.parse(printed.slice(printed.indexOf('{'))));
  const { io_bytes: bytes, total_ios: operations, runtime } = jobs[0]!.write;
  return (load.figure === 'bandwidth' ? bytes / MiB : operations) / (runtime / 1000);
}
