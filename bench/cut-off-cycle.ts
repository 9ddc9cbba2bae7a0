/** Bytes sent for a cycle whose transfer is cut off in the middle and repeated: in parts, compared with one file. */
import path from 'node:path';
import { formatBytes } from '../domain/bytes.js';
import { vaultPaths } from '../domain/vault.js';
import { PART_LIMITS, type PartLimits } from '../replication/change-parts.js';
import { shipCycle } from '../replication/ship.js';
import { EmbeddedReplicaStore } from '../sites/folder-store/folder-store.js';
import type { ChangeRange, Cut } from '../ports/change-source.js';
import type { WriteFence } from '../ports/objects.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { required, type Bench, type Outcome } from './figures.js';
import { growthSizes } from './growth-sizes.js';
import { withScratch } from './scratch.js';

const MiB = 1024 ** 2;
const RANGE = 1 * MiB;
const FENCE = { epoch: 1, sequence: 1 };
const ONE_FILE: PartLimits = { payload: Infinity, rows: Infinity };
/** The least number of parts of a cycle, even in a quick run. */
const PARTS = 8;

export const cutOffCycle: Bench = {
  name: 'cut-off-cycle',
  summary: 'bytes sent of a cycle that is cut off in its middle and sent again: in parts, against one file',
  run: measure,
};

async function measure(say: (line: string) => void): Promise<Outcome[]> {
  const bytes = growthSizes.cycleMiB() * MiB;
  const parts = { ...PART_LIMITS, payload: Math.min(PART_LIMITS.payload, Math.ceil(bytes / PARTS)) };
  const sent = (limits: PartLimits) => withScratch((folder) => sentBytes(path.join(folder, 'store'), bytes, limits));
  const ours = await sent(parts);
  say(`in parts of ${formatBytes(parts.payload)}: ${formatBytes(ours)} sent`);
  const peer = await sent(ONE_FILE);
  say(`as one file: ${formatBytes(peer)} sent`);
  return [
    {
      name: `bytes sent of a cycle of ${formatBytes(bytes)} cut off in its middle, one file / parts`,
      unit: 'ratio',
      samples: [peer / ours],
      targets: [required('at least', 1.25)],
      details: [
        `ours ${(ours / bytes).toFixed(2)} of the cycle's bytes, in parts of ${formatBytes(parts.payload)}`,
        `peer ${(peer / bytes).toFixed(2)} of them`,
      ],
    },
  ];
}

const batchesOf = (ranges: readonly ChangeRange[]): AsyncIterable<readonly ChangeRange[]> => ({
  async *[Symbol.asyncIterator]() {
    yield await Promise.resolve(ranges);
  },
});

/** Sends the cycle to a little beyond its middle, then again to its end. @returns bytes sent by both attempts. */
async function sentBytes(folder: string, bytes: number, partLimits: PartLimits): Promise<number> {
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  await store.objects.raiseFence({ scope: vaultPaths.vm('bench-01'), ...FENCE });
  const content = Buffer.alloc(RANGE, 0x5a);
  const ranges: ChangeRange[] = Array.from({ length: bytes / RANGE }, (_, index) => ({
    ...{ offset: index * RANGE, length: RANGE, zero: false, position: 0 },
  }));
  const disks = [{ name: 'os', ranges: batchesOf(ranges), read: async () => content }];
  const changeSet = { disks, close: async () => undefined };
  const cut: Cut = {
    ...{ vm: 'bench-01', ...FENCE, sealedAt: '2026-01-01T00:00:00.000Z', final: false },
    disks: [{ name: 'os', size: bytes, token: 'os', lastWrite: ranges.length }],
  };
  let sent = 0;
  let cutOffAt = bytes / 2 + RANGE;
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      sent += chunk.length;
      if (sent > cutOffAt) throw new Error('cut off');
      yield chunk;
    }
  };
  const counting: ReplicaStore = {
    objects: new Proxy(store.objects, {
      get(target, property) {
        if (property === 'upload') {
          return (name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence) =>
            target.upload(name, counted(chunks), fence);
        }
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    }),
    disks: store.disks,
    close: () => store.close(),
  };
  const ship = () => shipCycle(counting, changeSet, cut, FENCE, { partLimits });
  await ship().catch((error: Error) => {
    if (error.message !== 'cut off') throw error;
  });
  cutOffAt = Infinity;
  await ship();
  await store.close();
  return sent;
}
