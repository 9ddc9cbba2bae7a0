import { expect, it } from 'vitest';
import { refuseHalfCancelled, refuseWhileFenceOwed } from '../../client/commands/replica-vm.js';
import { viewOf } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { at, newItem } from '../domain/random-life.js';

const view = (changes: Partial<ProtectedItem>) => viewOf({ ...newItem(), ...changes }, at(1000));

it('does not start a source that still has to be told of the failover, because it would be turned off again', () => {
  const owed = view({ phase: 'Unprotected', activeSide: 'recovery', sourceFence: { epoch: 3, since: at(1) } });
  expect(() => refuseWhileFenceOwed('db-01', owed)).toThrow(
    /is not fenced yet[^]*Remedy: start the hypervisor of host [^]*--primary-lost/,
  );
  expect(() => refuseWhileFenceOwed('db-01', view({ phase: 'Unprotected' }))).not.toThrow();
  expect(() => refuseWhileFenceOwed('db-01', undefined)).not.toThrow();
});

it('does not start a source behind the back of a protection for which the VM is failed over', () => {
  const halfway = view({ phase: 'FailedOver', activeSide: 'recovery' });
  expect(() => refuseHalfCancelled('db-01', halfway)).toThrow(/farshore cancel-failover db-01 --wait$/);
  for (const phase of ['Protected', 'Unprotected', 'Committed'] as const)
    expect(() => refuseHalfCancelled('db-01', view({ phase }))).not.toThrow();
});
