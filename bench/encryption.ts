/**
 * How much the encryption of Temporal's data costs a replication cycle: two instances side by side, one of them with
 * keys.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import path from 'node:path';
import { addKey, KEY_FILE_VARIABLE } from '../temporal/encryption/key-file.js';
import { required, type Bench, type Outcome } from './figures.js';
import { withInstance, type BenchInstance } from './instance.js';
import { measurePairs, spread } from './pairs.js';
import { withScratch } from './scratch.js';

const MiB = 2 ** 20;
const DISK_BYTES = 64 * MiB;
/** Bytes that the guest writes into each cycle: few, because the cost depends on messages, not on data. */
const CYCLE_BYTES = MiB;
/** Cycles per round: so many that the polling interval does not matter. */
const CYCLES = 10;
const POLL_MS = 20;

export const encryption: Bench = {
  name: 'encryption',
  summary: `time of a cycle with and without encryption, ${CYCLES} cycles a round`,
  run: (say) => withScratch((folder) => measure(folder, say)),
};

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const keyFile = path.join(folder, 'keys.yaml');
  await addKey(keyFile, { standby: false, today: 'bench' });
  const pairs = await withKeys(keyFile, folder, (encrypted) =>
    withProtected(path.join(folder, 'plain'), (plain) =>
      measurePairs(
        () => secondsOfCycles(encrypted),
        () => secondsOfCycles(plain),
        say,
      ),
    ),
  );
  const perCycle = (rounds: readonly number[]) =>
    spread(
      rounds.map((seconds) => (seconds * 1000) / CYCLES),
      'ms',
      0,
    );
  return [
    {
      name: 'encryption, time of a cycle, with / without',
      unit: 'ratio',
      samples: pairs.map(({ ours, peer }) => ours / peer),
      targets: [required('at most', 1.1)],
      details: [
        `with: ${perCycle(pairs.map(({ ours }) => ours))}`,
        `without: ${perCycle(pairs.map(({ peer }) => peer))}`,
      ],
    },
  ];
}

/** An instance uses the keys that the environment names when it starts. */
function withKeys<T>(keyFile: string, folder: string, work: (instance: BenchInstance) => Promise<T>): Promise<T> {
  process.env[KEY_FILE_VARIABLE] = keyFile;
  return withProtected(path.join(folder, 'encrypted'), (instance) => {
    delete process.env[KEY_FILE_VARIABLE];
    return work(instance);
  });
}

async function withProtected<T>(folder: string, work: (instance: BenchInstance) => Promise<T>): Promise<T> {
  await mkdir(folder);
  const disk = await open(path.join(folder, 'os.img'), 'w');
  await disk.truncate(DISK_BYTES);
  await disk.close();
  return await withInstance(folder, '15m', async (instance) => {
    await instance.protect();
    return await work(instance);
  });
}

async function secondsOfCycles(instance: BenchInstance): Promise<number> {
  const guest = await instance.connectGuest();
  try {
    let seconds = 0;
    for (let cycle = 0; cycle < CYCLES; cycle += 1) {
      await guest.write(randomBytes(CYCLE_BYTES), cycle * CYCLE_BYTES);
      await guest.flush();
      const started = performance.now();
      await instance.cycle(POLL_MS);
      seconds += (performance.now() - started) / 1000;
    }
    return seconds;
  } finally {
    await guest.close();
  }
}
