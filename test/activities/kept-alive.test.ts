/** What takes longer than the heartbeat timeout is not taken for a worker that has died: on every side, whatever it does. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTargetActivities } from '../../activities/target.js';
import { classified } from '../../activities/failures.js';
import { beating } from '../../activities/heartbeat.js';
import { createSourceActivities } from '../../activities/source.js';
import { createSourceFabricActivities } from '../../activities/source-fabric.js';
import { createResynchronizationActivities } from '../../activities/resynchronization.js';
import { workOf } from '../../workflows/activity-table.js';
import { oneHostSite } from '../support/one-host-site.js';
import { quietEnvironment, VM } from './embedded-site.js';

const HEARTBEAT_TIMEOUT_MS = 30_000;

/** A port whose every call takes for ever, and those of its halves. */
const slow = <T>(): T =>
  new Proxy(() => undefined, { get: () => slow(), apply: () => new Promise(() => undefined) }) as T;

const site = oneHostSite('/nowhere', [
  { name: VM, host: 'h1', disks: [{ name: 'os', path: '/nowhere/os.vhd' }], networkAdapters: [] },
]);
type Activities = Record<string, (input: object) => Promise<unknown>>;
const store = slow<Parameters<typeof createTargetActivities>[0]['store']>();
const compute = slow<Parameters<typeof createTargetActivities>[0]['compute']>();
const all = {
  ...createSourceActivities({ source: slow(), store }),
  ...createSourceFabricActivities({ site, vmmServer: 'vmm-1', hypervisorOf: () => slow() }),
  ...createTargetActivities({ store, compute, networks: [] }),
  ...createResynchronizationActivities({ store }),
} as unknown as Activities;
/** As far as any of them looks into its input before it calls somebody. */
const input = {
  vm: VM,
  epoch: 1,
  failoverEpoch: 3,
  sequence: 1,
  disk: 'os',
  fromOffset: 0,
  wanted: 'latest',
  recoveryPoint: '1-1',
  networkAdapters: [],
  trackedEpoch: 0,
  retentionHours: 1,
  description: { vm: VM, epoch: 1, networkAdapters: [], disks: [] },
  job: { id: 'job' },
};

/** Runs for this long. @returns what the server has heard, or undefined where it has ended meanwhile. */
async function runFor(ms: number, activity: (of: object) => Promise<unknown>, heartbeatTimeoutMs?: number) {
  const environment = quietEnvironment([], heartbeatTimeoutMs === undefined ? {} : { heartbeatTimeoutMs });
  const heard: unknown[] = [];
  environment.on('heartbeat', (details: unknown) => heard.push(details));
  let ended = false;
  void environment.run(activity, input).then(
    () => (ended = true),
    () => (ended = true),
  );
  await vi.advanceTimersByTimeAsync(ms);
  return ended ? undefined : heard;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('an activity that takes long is heard within the heartbeat timeout', () => {
  // This one only reads the site file.
  const calling = Object.values(workOf)
    .flatMap(Object.keys)
    .filter((name) => name !== 'resolveNetworks');

  test.each(calling)('%s', async (name) => {
    for (let timeouts = 1; timeouts <= 2; timeouts += 1) {
      const heard = await runFor(timeouts * HEARTBEAT_TIMEOUT_MS - 1, all[name]!, HEARTBEAT_TIMEOUT_MS);
      expect(heard?.length).toBeGreaterThanOrEqual(timeouts);
    }
  });
});

test('an activity that reports its own progress sends no other heartbeats', async () => {
  const { work } = classified({
    work: () =>
      beating(5, async ({ onProgress }) => {
        onProgress({ bytesDone: 42 });
        await new Promise(() => undefined);
      }),
  });
  const heard = await runFor(HEARTBEAT_TIMEOUT_MS, work, HEARTBEAT_TIMEOUT_MS);
  expect(new Set(heard?.map((details) => JSON.stringify(details)))).toEqual(
    new Set(['{"bytesDone":5}', '{"bytesDone":42}']),
  );
});

test.each([undefined, 0])('no heartbeats are sent if none are expected (%s)', async (timeout) => {
  const { work } = classified({ work: () => new Promise<void>(() => undefined) });
  expect(await runFor(HEARTBEAT_TIMEOUT_MS, work, timeout)).toEqual([]);
});

test('none is sent once it has ended', async () => {
  const { work } = classified({ work: () => Promise.reject(new Error('failed')) });
  expect(await runFor(HEARTBEAT_TIMEOUT_MS, work, HEARTBEAT_TIMEOUT_MS)).toBeUndefined();
  expect(vi.getTimerCount()).toBe(0);
});
