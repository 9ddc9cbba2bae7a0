/** What `unprotect` says of the source of a VM that runs at the recovery site. */
import { expect, test } from 'vitest';
import { consequences, endedBefore, owedText } from '../../client/commands/unprotect.js';
import { viewOf } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { at, newItem } from '../domain/random-life.js';

test.each<[string, Partial<ProtectedItem>, RegExp]>([
  ['that was shut down', {}, /disks on host \S+, off$/m],
  ['that nobody could tell', { sourceFence: { epoch: 3, since: at(1) } }, /; the VM may still be running$/m],
  [
    'that went on',
    { sourceRan: { until: at(7) } },
    new RegExp(`off since ${at(7)}: it kept running after the failover`),
  ],
])('a source %s', (_what, changes, said) => {
  const item: ProtectedItem = { ...newItem(), phase: 'Committed', activeSide: 'recovery', ...changes };
  const end = { item, keepReplica: false, primaryLost: false, unknownToHost: false, points: 1 };
  expect(consequences(end)).toMatch(said);
  expect(consequences(end)).not.toContain('as the failover left it');
  expect(consequences(end)).toMatch(
    /Keeps: +change logs .* which is not contacted; they are deleted when the source is started there again/,
  );
});

test('says that --primary-lost waives nothing if the source has already been told', () => {
  const item: ProtectedItem = { ...newItem(), phase: 'Committed', activeSide: 'recovery' };
  const end = { item, keepReplica: false, primaryLost: true, unknownToHost: false, points: 1 };
  expect(owedText(end)).toContain('--primary-lost is not needed');
  expect(owedText({ ...end, primaryLost: false })).toBe('');
  const owed = { ...item, sourceFence: { epoch: 3, since: at(1) } };
  expect(owedText({ ...end, item: owed })).toContain('if the primary site comes back, the VM may run at both sites');
});

test('a protection that has ended is answered as ended, and only waiving the fence asks again', () => {
  const sourceFence = { epoch: 3, since: at(1) };
  const item: ProtectedItem = { ...newItem(), phase: 'Unprotected', activeSide: 'recovery', sourceFence };
  const view = viewOf(item, at(9));
  expect(endedBefore(view, {})).toMatch(/^its protection has already ended; its source is not fenced yet/);
  expect(endedBefore(view, { primaryLost: true })).toBeUndefined();
  expect(endedBefore(viewOf({ ...item, phase: 'Committed' }, at(9)), {})).toBeUndefined();
  const end = { item, keepReplica: false, primaryLost: true, unknownToHost: false, points: 1 };
  expect(consequences(end)).toMatch(
    /^The protection of \S+ has ended; this abandons its remaining clean-up at the primary site\.$/,
  );
});
