/**
 * The peak memory of the processes while a VM is protected, and whether it grows with the size of its disk or the
 * number of its writes.
 */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatBytes } from '../domain/bytes.js';
import type { NbdGuest } from '../sites/nbd/guest.js';
import { required, type Bench, type Outcome } from './figures.js';
import { createPartlyFilled } from './images.js';
import { withInstance, type BenchInstance } from './instance.js';
import { missingProgram, run } from './programs.js';
import { withScratch } from './scratch.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const CYCLES = 3;
/** The least number of bytes that a guest writes into each cycle. */
const CYCLE_BYTES = 64 * MiB;

const disks = [
  { size: 1 * GiB, share: 0.5 },
  { size: 64 * GiB, share: 1 / 32 },
] as const;

/** Number of writes in one cycle; their logs stay below half the size of this disk. */
const RANDOM_WRITES = 1_000_000;
const RANDOM_DISK_BYTES = 16 * GiB;
const SMALL = 4 * KiB;
const IN_FLIGHT = 64;

export const memory: Bench = {
  name: 'memory',
  summary: 'peak memory of the processes that protect a VM with a disk of 1 GiB, and one of 64 GiB',
  run: async (say) => {
    const outcomes: Outcome[] = [];
    for (const disk of disks) {
      outcomes.push(...(await withScratch((folder) => measure(folder, disk.size, disk.share, say))));
    }
    return outcomes;
  },
};

export const memoryRandom: Bench = {
  name: 'memory-random',
  summary: 'peak memory of the same processes, and bytes shipped, when a cycle holds 1,000,000 random 4 KiB writes',
  run: (say) => withScratch((folder) => measureRandom(folder, say)),
};

async function measure(folder: string, size: number, share: number, say: (line: string) => void): Promise<Outcome[]> {
  const dataBytes = await createPartlyFilled(path.join(folder, 'os.img'), size, share);
  return await withInstance(folder, '30s', async (instance) => {
    const guest = new WritingGuest(await instance.connectGuest());
    try {
      say(`${formatBytes(size)}: initial copy`);
      await instance.protect();
      for (let cycle = 1; cycle <= CYCLES; cycle += 1) {
        await guest.written(CYCLE_BYTES);
        await instance.cycle();
        say(`${formatBytes(size)}: cycle ${cycle} applied`);
      }
    } finally {
      await guest.stop();
    }
    return await instance.peaks(`disk of ${formatBytes(size)} with ${formatBytes(dataBytes)} of data`);
  });
}

async function measureRandom(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const name = 'memory, 1,000,000 random writes';
  const missing = missingProgram('cmp');
  if (missing !== undefined) return [{ name, missing }];
  await createPartlyFilled(path.join(folder, 'os.img'), RANDOM_DISK_BYTES, 1 / 256);
  return await withInstance(folder, '5m', async (instance) => {
    await instance.protect();
    say('protected');
    // One cycle must hold all of the writes.
    await instance.pause();
    await writeRandomly(instance);
    say(`${RANDOM_WRITES} writes are acknowledged`);
    await instance.cycle();
    const [shipped] = (await instance.manifest()).disks;
    say('their cycle is applied');
    const peaks = await instance.peaks(`a cycle of ${RANDOM_WRITES} random writes of ${formatBytes(SMALL)}`);
    const { source, replica } = instance.files;
    // Fails if they differ; no guest writes any more. With files of this many pieces, qemu-img compare would take ten
    // minutes.
    await run('cmp', '-n', String(RANDOM_DISK_BYTES), source, replica);
    say('the replica is equal to its source');
    return [
      ...peaks,
      {
        name: 'delta, bytes shipped / bytes of the blocks written',
        unit: 'ratio',
        samples: [shipped!.length / (RANDOM_WRITES * SMALL)],
        targets: [required('at most', 1.02)],
        details: [`${shipped!.length} bytes with ${shipped!.ranges} rows; replica equal to its source by cmp`],
      },
    ];
  });
}

/** Writes that many different blocks, all over the disk. */
async function writeRandomly(instance: BenchInstance): Promise<void> {
  const guest = await instance.connectGuest();
  const content = randomBytes(MiB + SMALL);
  const blocks = RANDOM_DISK_BYTES / SMALL;
  let next = 0;
  const lane = async () => {
    while (next < RANDOM_WRITES) {
      const write = next++;
      // The factor is odd and the number of blocks is a power of two, so each block is written once.
      const block = (write * 2_654_435_761) % blocks;
      const from = (write * 512) % MiB;
      await guest.write(content.subarray(from, from + SMALL), block * SMALL);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  await guest.flush();
  await guest.close();
}

/** Writes without pause, some megabytes per second: large blocks in sequence, and small ones anywhere. */
class WritingGuest {
  #bytes = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(private readonly disk: NbdGuest) {
    this.#running = this.#run();
    this.#running.catch(() => undefined);
  }

  /** Resolves when this many more bytes have been acknowledged. */
  async written(bytes: number): Promise<void> {
    const goal = this.#bytes + bytes;
    while (this.#bytes < goal) await Promise.race([sleep(50), this.#running]);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    await this.disk.close();
  }

  async #run(): Promise<void> {
    const content = randomBytes(MiB);
    const small = 4 * KiB;
    // Rewrites a quarter of the smallest disk, so that its logs do not outgrow it.
    const region = 256 * MiB;
    for (let round = 0; !this.#stopped; round += 1) {
      const writes = [this.disk.write(content, (round * MiB) % region)];
      for (let place = 0; place < 16; place += 1) {
        const block = (round * 16 + place) * 7919;
        writes.push(this.disk.write(content.subarray(0, small), (block * small) % this.disk.size));
      }
      await Promise.all(writes);
      this.#bytes += MiB + 16 * small;
      await sleep(100);
    }
  }
}
