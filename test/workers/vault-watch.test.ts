/** What is told of a vault while Temporal or the store does not answer: the last word of each, and its age. */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { expect, onTestFinished, test } from 'vitest';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { policySchema } from '../../domain/policy.js';
import { toIso } from '../../domain/time.js';
import { vaultPaths, type ReplicaDescription } from '../../domain/vault.js';
import { prepareReplica } from '../../replication/replica.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { loadSite } from '../../config/site-file.js';
import { workerLogger } from '../../workers/logger.js';
import { VaultWatch } from '../../workers/vault-watch.js';
import { makeSite, Shell } from '../client/command.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const MiB = 2 ** 20;
const HOUR_MS = 3_600_000;

/** Temporal's list, as long as it answers. */
class FakeTemporal {
  items: readonly unknown[] | undefined;
  asked = 0;
  readonly client = {
    withDeadline: <T>(_at: number, call: () => Promise<T>) => call(),
    withAbortSignal: <T>(_signal: AbortSignal, call: () => Promise<T>) => call(),
    workflow: { list: () => this.listed() },
  } as unknown as Client;

  private async *listed() {
    this.asked += 1;
    if (!this.items) throw new Error('connection refused');
    for (const item of this.items) yield { memo: item === undefined ? undefined : { protectedItem: item } };
  }

  /** Has been asked, and what it answered has been taken. */
  async answered(): Promise<void> {
    const enough = this.asked + 2;
    while (this.asked < enough) await sleep(5);
  }
}

const protectedItem = (vm: string, sealedAgoMs: number): ProtectedItem => ({
  ...newProtectedItem({
    ...{ vault: 'vault-1', vm, host: 'h1', vmmServer: 'vmm-1', policy: policySchema.parse({ name: 'p' }) },
  }),
  phase: 'Protected',
  shipped: { sequence: 1, sealedAt: toIso(Date.now() - sealedAgoMs), bytes: 0 },
});

const described = (vm: string): ReplicaDescription => ({
  ...{ vm, host: 'h1', vmmServer: 'vmm-1', epoch: 1, generation: 2, size: 's', osDisk: 'os', finalized: true },
  disks: [{ name: 'os', size: MiB, replicaSize: MiB }],
  networkAdapters: [],
});

async function watched() {
  const shell = new Shell(await temporaryFolder());
  await makeSite(shell);
  const folder = path.join(shell.folder, 'vault');
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  const { site } = await loadSite(path.join(shell.folder, 'site.yaml'), { disks: false });
  const temporal = new FakeTemporal();
  const lines: string[] = [];
  const replicaVms = new Map<string, 'Running' | 'Off'>();
  const logger = workerLogger('azure', 'vault-1', {}, { write: (line) => void lines.push(line) });
  const watch = await VaultWatch.start(site, temporal.client, logger, () => Promise.resolve(replicaVms), 5);
  onTestFinished(async () => {
    await watch.stop();
    await store.close();
  });
  const values = (name: string) =>
    watch
      .measures()
      .find((measure) => measure.name === name)!
      .samples.map(({ labels, value }) => [labels['vm'] ?? labels['vault'], value]);
  return { temporal, store, folder, values, lines, replicaVms };
}

test('reports nothing until Temporal has answered; then keeps its last answer, with its age', async () => {
  const { temporal, values, lines } = await watched();
  await temporal.answered();
  expect(values('farshore_replication_health')).toEqual([]);
  expect(values('farshore_state_read_timestamp_seconds')).toEqual([]);
  expect(lines.filter((line) => line.includes('Temporal does not report'))).toHaveLength(1);

  // What is no item of ours, or none yet, is passed over.
  temporal.items = [protectedItem('db-01', 2 * HOUR_MS), undefined, { vm: 'odd' }];
  await temporal.answered();
  expect(values('farshore_replication_health')).toEqual([['db-01', 1]]);
  const [[, sealedAt]] = values('farshore_last_cycle_sealed_timestamp_seconds') as [[string, number]];

  temporal.items = undefined;
  await temporal.answered();
  const readAt = values('farshore_state_read_timestamp_seconds');
  await temporal.answered();
  expect(values('farshore_state_read_timestamp_seconds')).toEqual(readAt);
  expect(values('farshore_last_cycle_sealed_timestamp_seconds')).toEqual([['db-01', sealedAt]]);
  expect(values('farshore_replication_health')).toEqual([['db-01', 1]]);
  // Told once for each time that it falls silent.
  expect(lines.filter((line) => line.includes('Temporal does not report'))).toHaveLength(2);

  temporal.items = [];
  await temporal.answered();
  expect(values('farshore_replication_health')).toEqual([]);
});

test('counts replicas in the store that Temporal does not know', async () => {
  const { temporal, store, folder, values, lines } = await watched();
  for (const vm of ['db-01', 'web-01']) await prepareReplica(store, described(vm), { epoch: 1, sequence: 0 });
  temporal.items = [protectedItem('web-01', 0)];
  const until = async (unattended: number) => {
    while (values('farshore_unattended_replicas')[0]?.[1] !== unattended) await temporal.answered();
  };
  await until(1);
  expect(values('farshore_recovery_points')).toEqual([['web-01', 0]]);
  await store.objects.put(vaultPaths.point('web-01', 'p'), Buffer.from('{}'), {
    ...{ scope: vaultPaths.vm('web-01'), epoch: 1, sequence: 1 },
  });
  // It is not counted again before something has happened to the VM.
  await temporal.answered();
  expect(values('farshore_recovery_points')).toEqual([['web-01', 0]]);
  temporal.items = [{ ...protectedItem('web-01', 0), applied: { sequence: 1, sealedAt: toIso(0), bytes: 0 } }];
  await temporal.answered();
  expect(values('farshore_recovery_points')).toEqual([['web-01', 1]]);
  temporal.items = [];
  await until(2);
  await rename(folder, `${folder}-away`);
  temporal.items = [protectedItem('db-01', 0)];
  const complaints = () => lines.filter((line) => line.includes('The store does not report')).length;
  while (complaints() === 0) await temporal.answered();
  await temporal.answered();
  expect(values('farshore_unattended_replicas')).toEqual([['vault-1', 2]]);
  expect(values('farshore_replication_health')).toEqual([['db-01', 0]]);
  await rename(`${folder}-away`, folder);
  await until(1);
  expect(complaints()).toBe(1);
});

test('counts VMs that should run at the recovery site but do not', async () => {
  const { temporal, values, replicaVms } = await watched();
  const failedOver = { ...protectedItem('db-01', 0), phase: 'Committed' as const, activeSide: 'recovery' as const };
  temporal.items = [failedOver, protectedItem('web-01', 0)];
  const until = async (stopped: number) => {
    while (values('farshore_stopped_replica_vms')[0]?.[1] !== stopped) await temporal.answered();
  };
  await until(1);
  replicaVms.set('db-01', 'Running');
  await until(0);
  replicaVms.set('db-01', 'Off');
  await until(1);
});
