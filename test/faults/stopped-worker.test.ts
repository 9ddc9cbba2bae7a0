/**
 * A worker is told to stop (SIGTERM) in the middle of a cycle: what ends in its last seconds is ended by it; what takes
 * longer is handed back, and the next worker goes on with it at once.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { protectedItemId } from '../../domain/ids.js';
import { requireReader } from '../support/readers.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { SmallSite, VM } from './small-site.js';

const MiB = 1024 * 1024;
const WORKER = 'host-hyperv-01';
const POLL_MS = 50;

test(
  'a host worker that is stopped finishes what it can and hands back the rest',
  { timeout: 180_000 },
  async (context) => {
    requireReader('qemu-img', context);
    const folder = await temporaryFolder();
    await mkdir(path.join(folder, 'source'));
    // Half a MiB a second.
    const site = await SmallSite.start(folder, 'source', { dataBytes: MiB, bandwidth: '4 Mbit/s' });
    const entity = () => site.farshore.temporal.workflow.getHandle(protectedItemId('vault-01', VM));
    /** Of the worker that works on the cycle: one heard from, as what is only handed to one that ends may never begin. */
    const untilWorking = async () => {
      for (;;) {
        const { raw } = await entity().describe();
        const pid = (raw.pendingActivities ?? [])
          .filter(({ lastHeartbeatTime }) => lastHeartbeatTime)
          .map(({ lastWorkerIdentity }) => /^host:hyperv-01@.+:(\d+)$/.exec(lastWorkerIdentity ?? '')?.[1])
          .find((found) => found !== undefined);
        if (pid !== undefined) return Number(pid);
        await sleep(POLL_MS);
      }
    };
    /** How each attempt to send a cycle ended since then, with the worker's process. */
    const attemptsSince = async (eventId: number) => {
      const { events } = await entity().fetchHistory();
      const all = events ?? [];
      const typeOf = (scheduled: unknown) =>
        all.find((event) => String(event.eventId) === String(scheduled))?.activityTaskScheduledEventAttributes
          ?.activityType?.name;
      return all
        .filter((event) => Number(event.eventId) > eventId)
        .flatMap(({ activityTaskCompletedEventAttributes: done, activityTaskFailedEventAttributes: failed }) => {
          const ended = done ?? failed;
          if (typeOf(ended?.scheduledEventId) !== 'cutAndShip') return [];
          const pid = Number(/:(\d+)$/.exec(ended?.identity ?? '')?.[1]);
          return [{ pid, failure: failed?.failure?.applicationFailureInfo?.type }];
        });
    };
    const lastEvent = async () => Number((await entity().fetchHistory()).events?.at(-1)?.eventId ?? 0);
    try {
      await site.farshore.protect(VM);
      await site.until(
        ({ item }) => item.phase === 'Protected' && item.job === undefined && (item.applied?.sequence ?? 0) >= 2,
      );

      // Four seconds of work, in the ten that it gets.
      await site.write(2 * MiB, 8 * MiB);
      let since = await lastEvent();
      let sequence = await site.sync();
      const first = await untilWorking();
      expect(first).toBe(site.running.processId(WORKER));
      process.kill(first, 'SIGTERM');
      await site.until(({ item }) => (item.applied?.sequence ?? 0) >= sequence);
      expect(await attemptsSince(since)).toEqual([{ pid: first, failure: undefined }]);

      // More than it gets: some seconds of it, and a long rest.
      await site.write(10 * MiB, 12 * MiB);
      since = await lastEvent();
      sequence = await site.sync();
      const second = await untilWorking();
      expect(second).not.toBe(first);
      process.kill(second, 'SIGTERM');
      const retries: unknown[] = [];
      await site.until(
        ({ item }) => (item.applied?.sequence ?? 0) >= sequence,
        VM,
        ({ item }) => Promise.resolve(void (item.retry && retries.push(item.retry))),
      );
      const attempts = await attemptsSince(since);
      expect(attempts).toMatchObject([{ pid: second, failure: 'WorkerStopped' }, { failure: undefined }]);
      expect(attempts[1]!.pid).not.toBe(second);
      // The ladder was never climbed: nobody waited for it.
      expect(retries).toEqual([]);
      await site.expectEqual();
    } finally {
      await site.stop();
    }
  },
);
