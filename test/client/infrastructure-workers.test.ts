/** What is said of a worker is what is known: that it answers, or only that it polls, as one that hangs does, too. */
import { expect, test } from 'vitest';
import { infrastructureText } from '../../client/infrastructure/infrastructure-text.js';
import { infrastructureOf } from '../../client/infrastructure/infrastructure.js';
import { taskQueues } from '../../domain/ids.js';
import { toldOf } from '../../domain/host-silence.js';
import type { HeldReplica } from '../../domain/held-replica.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { at, newItem } from '../domain/random-life.js';
import { oneHostSite } from '../support/one-host-site.js';

const site = oneHostSite('/nowhere', [
  { name: 'db-01', host: 'h1', disks: [{ name: 'os', path: '/nowhere/os.vhd' }], networkAdapters: [] },
]);
const polls = (seconds: number) => `last asked for work ${seconds} s ago; not checked whether it answers`;

/** @param polled @param heard seconds before now; undefined: never. */
function lines(
  polled: number | undefined,
  heard: number | undefined,
  items: readonly ProtectedItem[] = [],
  held: readonly HeldReplica[] = [],
): { provider: string; agent: string; vm: string } {
  const queues = [taskQueues.vmm('vault-1', 'vmm-1'), taskQueues.host('vault-1', 'h1')];
  const known = infrastructureOf(site, {
    at: at(1000),
    seen: new Map(polled === undefined ? [] : queues.map((queue) => [queue, at(1000 - polled)])),
    heard: new Map(heard === undefined ? [] : [['h1', at(1000 - heard)]]),
    items: new Map(items.map((item) => [item.vm, item])),
    held,
    hypervisors: new Map(),
    replicaVms: new Map(),
    storeAnswers: true,
  });
  const text = infrastructureText(known, at(1000));
  return {
    provider: /Provider: (.*)/.exec(text)![1]!,
    agent: /agent: (.*)/.exec(text)![1]!,
    vm: /VM db-01: (.*)/.exec(text)![1]!,
  };
}

test.each<[string, number | undefined, number | undefined, { provider: string; agent: string }]>([
  ['an agent that is heard works', 50, 2, { provider: polls(50), agent: 'working' }],
  ['one that missed its looks is said to be heard then', 10, 17, { provider: polls(10), agent: 'last heard 17 s ago' }],
  ['one that hangs polls, and is silent', 10, 45, { provider: polls(10), agent: 'silent for 45 s' }],
  ['one that nobody watches polls', 10, undefined, { provider: polls(10), agent: polls(10) }],
  [
    'one that has not asked for longer than a poll lasts is gone',
    81,
    2,
    { provider: 'silent for 1 min 21 s', agent: 'working' },
  ],
  ['those that have ended', 120, 120, { provider: 'silent for 2 min', agent: 'silent for 2 min' }],
])('%s', (_what, polled, heard, expected) => {
  expect(lines(polled, heard)).toMatchObject(expected);
});

test('a Provider beside hosts that do not answer may be gone, and an old poll is no proof', () => {
  const item: ProtectedItem = { ...newItem(), host: 'h1', vmmServer: 'vmm-1', phase: 'Protected' };
  const silent = toldOf(item, { host: 'h1', since: at(990), heardAt: at(985), silent: 'agent' });
  expect(lines(12, 15, [silent])).toMatchObject({
    provider: 'last asked for work 12 s ago, but may be down: its hosts do not answer',
    agent: 'silent for 15 s',
  });
  expect(lines(12, 2, [item, { ...silent, vm: 'web-01', host: 'h2' }]).provider).toBe(polls(12));
});

test('a VM whose protection has ended is shown where it runs, whether or not its source was told', () => {
  const sourceFence = { epoch: 3, since: at(1) };
  const owed: ProtectedItem = { ...newItem(), phase: 'Unprotected', activeSide: 'recovery', sourceFence };
  expect(lines(1, 1, [owed]).vm).toBe('Unprotected, Warning, runs at the recovery site');
  const state = { epoch: 3, phase: 'Committed', recoveryPoint: 'p', recoveryPointTime: at(1), at: at(2) } as const;
  expect(lines(1, 1, [], [{ vm: 'db-01', asProtected: false, state }]).vm).toBe(
    'Unprotected, runs at the recovery site',
  );
});
