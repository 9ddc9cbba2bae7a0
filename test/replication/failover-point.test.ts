import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { CatalogueError } from '../../domain/errors.js';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { ExportRefused } from '../../replication/export-folder.js';
import { exportPoint } from '../../replication/export-point.js';
import {
  failoverPoint,
  LATEST,
  LATEST_PROCESSED,
  pointProblem,
  processReceived,
} from '../../replication/failover-point.js';
import { createRecoveryPoint, listRecoveryPoints } from '../../replication/recovery-points.js';
import { beginResync } from '../../replication/resync.js';
import { shipCycle } from '../../replication/ship.js';
import { surveyVault } from '../../replication/vault-survey.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { requireReader, runReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { KiB, MiB, Model, sizesOf, VM, write, zero } from './model.js';
import { copiesOf, flipByte, openStore, seedReplica } from './replica-fixture.js';
import { readDisk, writeDisk } from '../support/replica-disks.js';

type State = Map<string, Buffer>;
const stateOf = (model: Model): State => new Map([...model.disks].map(([name, bytes]) => [name, Buffer.from(bytes)]));
const ofEpoch1 = (sequence: number) => ({ vm: VM, epoch: 1, sequence });

/** Ships a cycle. @returns the disks as they are at it. */
async function ship(store: ReplicaStore, model: Model, sequence: number): Promise<State> {
  model.write('os', write(sequence * 4 * KiB, 8 * KiB, sequence));
  model.write('os', zero(64 * KiB, 512 * sequence));
  model.write('data', write(0, 4 * KiB, sequence + 100));
  const { cut, changeSet } = model.seal(1, sequence);
  await shipCycle(store, changeSet, cut, { epoch: 1, sequence });
  return stateOf(model);
}

/** A replica with cycle 1 applied and made a point, and cycles from 2 on received. */
async function received(last = 4) {
  const { store, folder } = await openStore();
  const model = new Model({ os: 2 * MiB + 512, data: 1 * MiB });
  model.write('os', write(0, 256 * KiB, 1));
  await seedReplica(store, model);
  const states = [await ship(store, model, 1)];
  await applyCycle(store, ofEpoch1(1));
  await createRecoveryPoint(store, { ...ofEpoch1(1), kind: 'crashConsistent' });
  for (let sequence = 2; sequence <= last; sequence += 1) states.push(await ship(store, model, sequence));
  return { store, folder, model, states };
}

async function expectState(store: ReplicaStore, pointId: string, wanted: State): Promise<void> {
  const point = (await listRecoveryPoints(store, VM)).find(({ id }) => id === pointId)!;
  for (const { name, snapshot } of point.disks) {
    const found = await readDisk(store.disks, { vm: VM, disk: name }, 0, wanted.get(name)!.length, snapshot);
    expect(found.equals(wanted.get(name)!), `${pointId} ${name}`).toBe(true);
  }
}

test('latest-app-consistent is the newest state that a frozen guest has left, also after a failover', async () => {
  const { store, states } = await received(3);
  expect(await pointProblem(store, VM, 'latest-app-consistent')).toContain('has no recovery point for');
  for (const [sequence, kind] of [
    [2, 'appConsistent'],
    [3, 'crashConsistent'],
  ] as const) {
    await applyCycle(store, ofEpoch1(sequence));
    await createRecoveryPoint(store, { ...ofEpoch1(sequence), kind });
  }
  for (const epoch of [1, 3]) {
    await store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch, sequence: 0 });
    const point = await failoverPoint(store, VM, 'latest-app-consistent');
    expect(point).toMatchObject({ id: recoveryPointId(1, 2), kind: 'appConsistent' });
    await expectState(store, point.id, states[1]!);
  }
});

describe('the state used by a failover without the source', () => {
  test('latest includes everything received; latest-processed is the replica as it is; an id is that point', async () => {
    const { store, states } = await received();
    expect((await failoverPoint(store, VM, LATEST_PROCESSED)).id).toBe(recoveryPointId(1, 1));
    expect(await processReceived(store, VM)).toEqual({ cycles: 3 });
    const latest = await failoverPoint(store, VM, LATEST);
    expect(latest.id).toBe(recoveryPointId(1, 4));
    await expectState(store, latest.id, states[3]!);
    const first = await failoverPoint(store, VM, recoveryPointId(1, 1));
    await expectState(store, first.id, states[0]!);
    const gone = recoveryPointId(1, 9);
    await expect(failoverPoint(store, VM, gone)).rejects.toMatchObject({ code: 'RecoveryPointNotFound' });
    expect(await pointProblem(store, VM, gone)).toContain('no recovery point "0001-00000009"');
    expect(await pointProblem(store, VM, LATEST)).toBeUndefined();
  });

  test('a damaged cycle stops the processing; the state before it is intact', async () => {
    const { store, folder, states } = await received();
    await flipByte(path.join(folder, ...vaultPaths.changes(VM, 1, 3, 'os').split('/')), 2048);
    const processed = await processReceived(store, VM);
    expect(processed).toMatchObject({ cycles: 1, stoppedBy: expect.stringContaining('digest') });
    const latest = await failoverPoint(store, VM, LATEST);
    expect(latest.id).toBe(recoveryPointId(1, 2));
    await expectState(store, latest.id, states[1]!);
  });

  test('during a resynchronization, the live replica is not a state: the newest kept point is used', async () => {
    const { store, model, states } = await received();
    const disks = Object.entries(sizesOf(model)).map(([name, size]) => ({ name, size }));
    await beginResync(store, { vm: VM, epoch: 2, disks });
    const fence = { scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 };
    await writeDisk(store.disks, { vm: VM, disk: 'os' }, [{ offset: 0, data: Buffer.alloc(64 * KiB, 7) }], fence);
    expect(await processReceived(store, VM)).toEqual({ cycles: 0 });
    const point = await failoverPoint(store, VM, LATEST);
    expect(point.id).toBe(recoveryPointId(1, 1));
    await expectState(store, point.id, states[0]!);
  });

  test(
    'killed at any instant of the processing and repeated, it has the same result',
    { timeout: 120_000 },
    async () => {
      const { states, ...prepared } = await received(2);
      const copy = await copiesOf(prepared);
      await dieAtEveryCall(async () => {
        const { store } = await copy();
        return {
          store,
          work: async (dying) => {
            await processReceived(dying, VM);
            await failoverPoint(dying, VM, LATEST);
          },
          check: () => expectState(store, recoveryPointId(1, 2), states[1]!),
        };
      });
    },
  );
});

describe('exporting', () => {
  async function expectFiles(folder: string, wanted: State): Promise<void> {
    for (const [disk, content] of wanted) {
      const raw = path.join(await temporaryFolder(), 'wanted.raw');
      const padded = Buffer.alloc(Math.ceil(content.length / MiB) * MiB);
      content.copy(padded);
      await writeFile(raw, padded);
      const file = path.join(folder, `${disk}.vhd`);
      expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', raw, file)).toContain('identical');
    }
  }

  test('latest adds the received cycles to the copy and does not change the replica', async (context) => {
    requireReader('qemu-img', context);
    const { store, folder, states } = await received();
    const to = path.join(await temporaryFolder(), 'out');
    // By another process's eyes, beside the one that uses the store.
    const reader = await EmbeddedReplicaStore.open(folder);
    const exported = await exportPoint(reader, { vm: VM, wanted: LATEST, folder: to });
    expect(exported).toMatchObject({ recoveryPoint: recoveryPointId(1, 1), cyclesAdded: 3 });
    await expectFiles(to, states[3]!);
    expect(JSON.parse(await readFile(path.join(to, 'description.json'), 'utf8'))).toMatchObject({ vm: VM, epoch: 1 });
    const { vms } = await surveyVault(reader);
    expect(vms).toMatchObject([{ vm: VM, applied: { sequence: 1 }, received: [{}, {}, {}], points: [{}] }]);
    await reader.close();
    const point = path.join(await temporaryFolder(), 'point');
    await exportPoint(store, { vm: VM, wanted: recoveryPointId(1, 1), folder: point });
    await expectFiles(point, states[0]!);
  });

  test('refuses existing files, writes nothing then, and begins an interrupted export again', async (context) => {
    requireReader('qemu-img', context);
    const { store, states } = await received();
    const to = await temporaryFolder();
    await writeFile(path.join(to, 'data.vhd'), 'mine');
    const task = { vm: VM, wanted: LATEST, folder: to };
    await expect(exportPoint(store, task)).rejects.toBeInstanceOf(ExportRefused);
    expect(await readdir(to)).toEqual(['data.vhd']);
    expect(await readFile(path.join(to, 'data.vhd'), 'utf8')).toBe('mine');
    await writeFile(path.join(to, 'data.vhd'), '');

    let reads = 0;
    const dying = intercept(store, 'disk.read', {
      before: async () => {
        if ((reads += 1) === 2) throw new CatalogueError('StoreUnreachable', 'gone in the middle');
      },
    });
    await expect(exportPoint(dying, task)).rejects.toMatchObject({ code: 'StoreUnreachable' });
    const left = (await readdir(to)).toSorted();
    expect(left).toContain('.export-unfinished');
    expect(left).not.toContain('export.json');
    await exportPoint(store, task);
    await expectFiles(to, states[3]!);
    expect((await readdir(to)).toSorted()).toEqual(['data.vhd', 'description.json', 'export.json', 'os.vhd']);
    await expect(exportPoint(store, task)).rejects.toBeInstanceOf(ExportRefused);
  });
});
