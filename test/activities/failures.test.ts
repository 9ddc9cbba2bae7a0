/** What an activity throws, as the workflow hears it: an entry of the catalogue, a bug, or a cancellation. */
import { rename } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { describe, expect, test, vi } from 'vitest';
import { classified } from '../../activities/failures.js';
import { beating } from '../../activities/heartbeat.js';
import { createSourceActivities } from '../../activities/source.js';
import { createTargetActivities } from '../../activities/target.js';
import { CatalogueError, failureCatalogue, type FailureCode } from '../../domain/errors.js';
import { HypervisorClient, RecoveryComputeClient } from '../../sites/hypervisor/control-client.js';
import { MiB } from '../replication/model.js';
import { leave, smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { begin, guestWrites, openSite, quietEnvironment, run, seed, VM } from './embedded-site.js';

const failing = (error: unknown) =>
  classified({
    work: async (): Promise<void> => {
      throw error;
    },
  }).work;

describe('classified', () => {
  test.each(Object.keys(failureCatalogue) as FailureCode[])(
    '%s is heard as that, and not tried again',
    async (code) => {
      const logged: unknown[] = [];
      const cause = new Error('errno');
      const error = new CatalogueError(code, 'disk os', { cause });
      await expect(quietEnvironment(logged).run(failing(error))).rejects.toMatchObject({
        name: 'ApplicationFailure',
        type: code,
        nonRetryable: true,
        message: `${failureCatalogue[code].message}: disk os`,
        cause,
      });
      expect(logged).toEqual([]);
    },
  );

  test.each([
    ['an error nobody has met', new TypeError('x is undefined'), 'x is undefined'],
    ['an errno no adapter knows', Object.assign(new Error('EWHAT'), { code: 'EWHAT', syscall: 'read' }), 'EWHAT'],
    ['a text', 'thrown by somebody', 'thrown by somebody'],
  ])('%s is a bug, and logged as one', async (_what, error, message) => {
    const logged: unknown[] = [];
    const failure = { name: 'ApplicationFailure', type: 'Unexpected', nonRetryable: true, message };
    await expect(quietEnvironment(logged).run(failing(error))).rejects.toMatchObject(failure);
    expect(logged).toMatchObject([{ error }]);
  });

  test('an error that is already classified is not changed', async () => {
    const failure = ApplicationFailure.nonRetryable('said before', 'StoreFull');
    await expect(run(failing(failure), undefined)).rejects.toBe(failure);
  });

  test.each(['CANCELLED', 'TIMED_OUT'] as const)(
    'once cancelled (%s) no error is anything but that',
    async (reason) => {
      for (const error of [new Error('aborted'), new CatalogueError('StoreUnreachable', 'cut off'), 'text']) {
        const logged: unknown[] = [];
        const environment = quietEnvironment(logged);
        environment.cancel(reason);
        const heard = await environment.run(failing(error)).catch((caught: unknown) => caught);
        expect(heard).toBeInstanceOf(CancelledFailure);
        expect((heard as Error).message).toBe(reason);
        expect(logged).toEqual([]);
      }
    },
  );
});

test('work that a stopping worker gives up is handed back, with its progress', async () => {
  const logged: unknown[] = [];
  const environment = quietEnvironment(logged);
  const work = classified({
    copy: () =>
      beating(0, async ({ onProgress, signal }) => {
        onProgress({ bytesDone: 42 });
        environment.cancel('WORKER_SHUTDOWN');
        signal.throwIfAborted();
      }),
  });
  await expect(environment.run(work.copy)).rejects.toMatchObject({
    name: 'ApplicationFailure',
    type: 'WorkerStopped',
    nonRetryable: false,
    details: [{ bytesDone: 42 }],
  });
  expect(logged).toEqual([]);
});

describe('heartbeats', () => {
  test('carry the progress from the start on, and end with the work', async () => {
    vi.useFakeTimers();
    try {
      const heartbeats: unknown[] = [];
      const environment = quietEnvironment();
      environment.on('heartbeat', (details: unknown) => heartbeats.push(details));
      await environment.run(() =>
        beating(5, async ({ onProgress }) => {
          onProgress({ bytesDone: 10 });
          await vi.advanceTimersByTimeAsync(2_000);
          onProgress({ bytesDone: 20 });
          onProgress({ bytesDone: 30 });
          await vi.advanceTimersByTimeAsync(2_000);
        }),
      );
      await vi.advanceTimersByTimeAsync(60_000);
      expect(heartbeats).toEqual([{ bytesDone: 5 }, { bytesDone: 10 }, { bytesDone: 30 }]);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test('a failure carries the progress', async () => {
    const { work } = classified({
      work: () =>
        beating(5, async ({ onProgress }) => {
          onProgress({ bytesDone: 42 });
          throw new CatalogueError('StoreFull', 'no space');
        }),
    });
    await expect(run(work, undefined)).rejects.toMatchObject({ type: 'StoreFull', details: [{ bytesDone: 42 }] });
  });

  test('of a copy begin at the offset where it continues', async () => {
    const site = await openSite();
    await begin(site);
    const heartbeats: unknown[] = [];
    const { copyDisk } = site.activities();
    await run(copyDisk, { vm: VM, epoch: 1, disk: 'os', fromOffset: MiB }, heartbeats);
    expect(heartbeats[0]).toEqual({ bytesDone: MiB });
  });
});

describe('errors at the sites', () => {
  const fence = { epoch: 1, sequence: 1 };

  test('a disk file that has disappeared', async () => {
    const site = await openSite();
    await begin(site);
    const copy = { vm: VM, epoch: 1, disk: 'os', fromOffset: 0 };
    await rename(site.disks[0]!.path, `${site.disks[0]!.path}.away`);
    const { copyDisk } = site.activities();
    await expect(run(copyDisk, copy)).rejects.toMatchObject({ type: 'DiskMissing', details: [{ bytesDone: 0 }] });
    await rename(`${site.disks[0]!.path}.away`, site.disks[0]!.path);
    expect(await run(copyDisk, copy)).toMatchObject({ done: true });
  });

  test('a store that is gone', async () => {
    const site = await openSite();
    await seed(site);
    const { cutAndShip, applyCycle, recordJob } = site.activities();
    await rename(site.storeFolder, `${site.storeFolder}.away`);
    const unreachable = { type: 'StoreUnreachable', nonRetryable: true };
    await expect(run(cutAndShip, { vm: VM, ...fence })).rejects.toMatchObject(unreachable);
    await expect(run(applyCycle, { vm: VM, ...fence, retentionHours: 2 })).rejects.toMatchObject(unreachable);
    await expect(run(recordJob, { job: { id: 'j' } as never })).rejects.toMatchObject(unreachable);
    await rename(`${site.storeFolder}.away`, site.storeFolder);
    expect(await run(cutAndShip, { vm: VM, ...fence })).toMatchObject({ sequence: 1 });
  });

  test('nothing answers at the control sockets', async () => {
    const folder = await temporaryFolder();
    const missing = join(folder, 'missing.sock');
    // A socket whose process was killed: refused, not missing.
    const dead = join(folder, 'dead.sock');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(dead, () => resolve()));
    const bound = join(folder, 'bound.sock');
    await rename(dead, bound);
    await new Promise<void>((resolve) => server.close(() => resolve()));
    const { store } = await openSite();
    for (const [socket, errno] of [
      [missing, 'ENOENT'],
      [bound, 'ECONNREFUSED'],
    ] as const) {
      const { checkSource } = createSourceActivities({ source: new HypervisorClient(socket), store });
      const host = { type: 'HypervisorUnreachable', message: expect.stringContaining(errno) };
      await expect(run(checkSource, { vm: VM })).rejects.toMatchObject(host);
      const compute = new RecoveryComputeClient(socket);
      const { checkCommit } = createTargetActivities({ store, compute, networks: [] });
      const side = { type: 'RecoverySideNotAnswering', message: expect.stringContaining(errno) };
      await expect(run(checkCommit, { vm: VM })).rejects.toMatchObject(side);
    }
  });

  test('a side that has been fenced writes no more', async () => {
    const site = await openSite();
    await seed(site);
    await guestWrites(site, 'os', MiB);
    const { cutAndShip, applyCycle, finalizeReplica } = site.activities();
    await run(cutAndShip, { vm: VM, ...fence });
    await run(applyCycle, { vm: VM, ...fence, retentionHours: 2 });
    await guestWrites(site, 'os', MiB, 5);
    await site.store.objects.raiseFence({ scope: `vms/${VM}`, epoch: 2, sequence: 0 });
    const stale = { type: 'StaleEpoch', nonRetryable: true };
    await expect(run(cutAndShip, { vm: VM, epoch: 1, sequence: 2 })).rejects.toMatchObject(stale);
    await expect(run(finalizeReplica, { vm: VM, epoch: 1, networkAdapters: [] })).rejects.toMatchObject(stale);
  });

  test('a VM, a network or a state that is not there', async () => {
    const site = await openSite();
    const all = site.activities();
    await expect(run(all.checkProtectable, { vm: 'nobody' })).rejects.toMatchObject({ type: 'VmNotFound' });
    await expect(run(all.checkSource, { vm: 'nobody' })).rejects.toMatchObject({ type: 'VmNotFound' });
    await expect(run(all.checkFailoverTarget, { vm: VM, epoch: 1 })).rejects.toMatchObject({
      type: 'InvalidReplicaState',
    });
    await expect(run(all.checkFailoverSource, { vm: VM, epoch: 1 })).rejects.toMatchObject({ type: 'InvalidVmState' });
    const networkAdapters = [{ name: 'nic', network: 'vnet', subnet: 'gone' }];
    await expect(run(all.identifyTarget, { vm: VM, networkAdapters, trackedEpoch: 0 })).rejects.toMatchObject({
      type: 'PrerequisitesNotMet',
    });
    await begin(site);
    await expect(run(all.checkFailoverSource, { vm: VM, epoch: 1 })).resolves.toMatchObject({
      snapshot: expect.any(String),
    });
    await expect(run(all.applyCycle, { vm: VM, ...fence, retentionHours: 2 })).rejects.toMatchObject({
      type: 'InvalidReplicaState',
    });
  });

  test('a volume without space', async (context) => {
    const source = await smallFileSystem(join(await temporaryFolder(), 'source'), 64, context);
    const site = await openSite(source);
    await seed(site);
    const { cutAndShip } = site.activities();
    await leave(source, 0);
    await expect(run(cutAndShip, { vm: VM, ...fence })).rejects.toMatchObject({
      type: 'SourceDiskFull',
      message: expect.stringContaining('ENOSPC'),
    });
    await leave(source, 16 * MiB);
    expect(await run(cutAndShip, { vm: VM, ...fence })).toMatchObject({ sequence: 1 });
  });
});
