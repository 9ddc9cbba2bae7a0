/** Reading many recovery points, as each cycle does a few times: from the index, compared with reading each record. */
import path from 'node:path';
import { recoveryPointId, recoveryPointSchema, vaultPaths } from '../domain/vault.js';
import { putKept } from '../replication/kept-record.js';
import { listPointIds, readPoint, readPointRecords } from '../replication/point-records.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { pruneRecoveryPoints } from '../replication/recovery-points.js';
import { encodeRecord } from '../replication/vault-record.js';
import { EmbeddedReplicaStore } from '../sites/folder-store/folder-store.js';
import { required, type Bench, type Outcome } from './figures.js';
import { growthSizes } from './growth-sizes.js';
import { measurePairs, spread } from './pairs.js';
import { withScratch } from './scratch.js';

const VM = 'bench-01';
const IN_FLIGHT = 8;

export const points: Bench = {
  name: 'points',
  summary: 'reading all recovery points twice: by their index, against each by itself',
  run: (say) => withScratch((folder) => measure(folder, say)),
};

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const store = await EmbeddedReplicaStore.open(path.join(folder, 'store'), { create: true });
  const fence = { scope: vaultPaths.vm(VM), epoch: 1, sequence: 0 };
  await store.objects.raiseFence(fence);
  const count = growthSizes.points();
  say(`making ${count} points`);
  await inParallel(
    Array.from({ length: count }, (_, index) => index + 1),
    IN_FLIGHT,
    async (sequence) => {
      const id = recoveryPointId(1, sequence);
      const time = new Date(Date.UTC(2026, 0, 1) + sequence * 30_000).toISOString();
      const point = { epoch: 1, sequence, id, vm: VM, time, kind: 'crashConsistent' as const };
      const disks = [{ name: 'os', snapshot: `${String(sequence).padStart(10, '0')}-3f21c09ab4d5` }];
      const record = encodeRecord(recoveryPointSchema, { ...point, disks });
      await putKept(store.objects, vaultPaths.point(VM, id), record, fence);
    },
  );
  await pruneRecoveryPoints(store, { vm: VM, epoch: 1, retainedFrom: 0 });

  const timed = async (read: () => Promise<number>): Promise<number> => {
    const started = performance.now();
    for (let time = 0; time < 2; time += 1) {
      const found = await read();
      if (found !== count) throw new Error(`${found} points were told, ${count} are there`);
    }
    return performance.now() - started;
  };
  const ours = () => timed(async () => (await readPointRecords(store, VM)).points.length);
  const peer = () =>
    timed(async () => {
      let found = 0;
      await inParallel(await listPointIds(store, VM), IN_FLIGHT, async (id) => {
        if ((await readPoint(store, VM, id)) !== undefined) found += 1;
      });
      return found;
    });
  const pairs = await measurePairs(ours, peer, say);
  await store.close();
  return [
    {
      name: `reading ${count} recovery points twice, each by itself / by their index, time`,
      unit: 'ratio',
      samples: pairs.map((pair) => pair.peer / pair.ours),
      targets: [required('at least', 2)],
      details: [
        `ours ${spread(
          pairs.map((pair) => pair.ours),
          'ms',
          0,
        )}: 1 object read each time, rather than ${count}`,
        `peer ${spread(
          pairs.map((pair) => pair.peer),
          'ms',
          0,
        )}`,
      ],
    },
  ];
}
