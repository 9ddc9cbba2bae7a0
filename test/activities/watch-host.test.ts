/** What the agent's looks tell of its host: when it was heard, by the server's clock, and what it has not answered. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { hostActivities } from '../../activities/watch-host.js';
import { lookEveryMs } from '../../domain/host.js';
import { quietEnvironment } from './embedded-site.js';

const NOW = Date.parse('2026-03-01T12:00:00.000Z');
const HOUR_MS = 3_600_000;
const at = (ms: number) => new Date(NOW + ms).toISOString();

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
});
afterEach(() => {
  vi.useRealTimers();
});

function agent(listVms: () => Promise<[]>) {
  const { watchHost } = hostActivities({ listVms });
  /**
   * Ten seconds of a call, which then is told to stop.
   * @param scheduledAt by the server's clock, ms. @returns what its first look has told the server, if it has, and all.
   */
  const look = async (scheduledAt: number) => {
    const environment = quietEnvironment([], { currentAttemptScheduledTimestampMs: scheduledAt });
    const beats: unknown[] = [];
    environment.on('heartbeat', (details: unknown) => beats.push(details));
    const done = environment.run(watchHost, { known: { stopped: {} } }).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(10_000);
    environment.cancel();
    return { told: beats[0], beats, came: await done };
  };
  return { look };
}

test('agents of a large site look less often, so that the server gets at most three looks a second', () => {
  expect([1, 2, 3, 15, 30, 1000].map(lookEveryMs)).toEqual([750, 750, 1_000, 5_000, 10_000, 10_000]);
});

describe('a look', () => {
  test('reports when the host was heard, and fails without news, in order to be called again soon', async () => {
    const { look } = agent(() => Promise.resolve([]));
    const { told, came } = await look(NOW - 5);
    expect(told).toEqual({ heardAt: at(0), everyMs: 750 });
    expect(came).toMatchObject({ type: 'Unchanged', nextRetryDelay: 350 });
  });

  test('is followed by others in the same call, and by another call in the end, or at once if the agent stops', async () => {
    const { look } = agent(() => Promise.resolve([]));
    await look(NOW);
    const { beats, came } = await look(NOW + 10_000);
    // A little sooner than it says, as a heartbeat takes its time.
    expect(beats).toHaveLength(16);
    expect(beats[1]).toEqual({ heardAt: at(10_650), everyMs: 750 });
    expect(came).toMatchObject({ type: 'Unchanged', nextRetryDelay: 50 });
  });

  test.each([HOUR_MS, -HOUR_MS])(
    'tells it by the clock of the server, from which its own is off by %i ms',
    async (off) => {
      const { look } = agent(() => Promise.resolve([]));
      const server = () => Date.now() - off;
      // The first may have waited for the agent to start.
      await look(server() - 30_000);
      const waited = await look(server() - 40);
      const begun = Date.now() - 10_000;
      expect(waited.told).toMatchObject({ heardAt: new Date(begun - off - 40).toISOString(), clockAheadMs: off + 40 });
      // One that came late is no sign of another clock.
      expect((await look(server() - 9_000)).told).toMatchObject({ clockAheadMs: off + 40 });
    },
  );

  test('reports a hypervisor that hangs, and when it was last heard', async () => {
    let hangs = false;
    const { look } = agent(() => (hangs ? new Promise(() => undefined) : Promise.resolve([])));
    await look(NOW);
    hangs = true;
    const { told, came } = await look(Date.now());
    expect(came).toMatchObject({ failure: { code: 'HypervisorUnreachable' }, heardAt: at(0) });
    expect(told).toMatchObject({ heardAt: at(0) });
  });
});
