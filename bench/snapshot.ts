/** A snapshot of a large replica: how long it takes, and how much it copies. */
import { randomBytes } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { formatBytes } from '../domain/bytes.js';
import { EmbeddedReplicaStore } from '../sites/folder-store/folder-store.js';
import { required, type Bench, type Outcome } from './figures.js';
import { withScratch } from './scratch.js';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const REPLICA_BYTES = 64 * GiB;
const WRITTEN_BYTES = 256 * MiB;
const SNAPSHOTS = 9;
const DISK = { vm: 'bench-01', disk: 'os' };
const FENCE = { epoch: 1, sequence: 1 };

export const snapshot: Bench = {
  name: 'snapshot',
  summary: 'a snapshot of a sparse replica of 64 GiB',
  run: (say) => withScratch((folder) => measure(path.join(folder, 'store'), say)),
};

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  try {
    await store.disks.create(DISK, REPLICA_BYTES, FENCE);
    const disk = await store.disks.open(DISK, FENCE);
    const write = (offset: number) => disk.write([{ offset, data: randomBytes(MiB) }]);
    const step = REPLICA_BYTES / (WRITTEN_BYTES / MiB);
    for (let offset = 0; offset < REPLICA_BYTES; offset += step) await write(offset);
    const times: number[] = [];
    const copied: number[] = [];
    for (let taken = 0; taken < SNAPSHOTS; taken += 1) {
      const before = await allocated(folder);
      const started = performance.now();
      await store.disks.snapshot(DISK, FENCE);
      times.push(performance.now() - started);
      copied.push(((await allocated(folder)) - before) / MiB);
      // As between two recovery points, something is written, so that the next snapshot has changes to cover.
      await write(taken * step);
      say(`snapshot ${taken + 1}: ${times.at(-1)!.toFixed(1)} ms`);
    }
    const size = `${formatBytes(REPLICA_BYTES)} with ${formatBytes(WRITTEN_BYTES)} of data`;
    return [
      { name: `snapshot of ${size}`, unit: 'ms', samples: times, targets: [required('at most', 100)], details: [] },
      {
        name: 'snapshot, space it takes',
        unit: 'MiB',
        samples: copied,
        // Room for names, a header, and an empty bitmap.
        targets: [required('at most', 1)],
        details: [
          `allocated before and after: ${copied.map((bytes) => `${(bytes * 1024).toFixed(0)} KiB`).join(', ')}`,
        ],
      },
    ];
  } finally {
    await store.close();
  }
}

/** Disk space of all files below a folder, bytes. */
async function allocated(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true });
  const stats = await Promise.all(entries.map((entry) => stat(path.join(folder, entry))));
  return stats.reduce((sum, { blocks }) => sum + blocks * 512, 0);
}
