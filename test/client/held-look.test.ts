import { expect, it } from 'vitest';
import { HeldLook } from '../../client/watch/held-look.js';
import type { HeldReplica } from '../../domain/held-replica.js';

const failedOver: HeldReplica = {
  vm: 'db-01',
  asProtected: false,
  state: {
    epoch: 2,
    phase: 'Committed',
    recoveryPoint: 'p',
    recoveryPointTime: '2026-01-01T00:00:00.000Z',
    at: '2026-01-01T00:00:00.000Z',
  },
};

it('asks the store only from time to time, but always before a replica VM is reported as missing', async () => {
  let said: HeldReplica[] = [failedOver];
  let asked = 0;
  const look = new HeldLook(() => {
    asked += 1;
    return Promise.resolve(said);
  });
  const running = new Map([['db-01', 'Running' as const]]);
  await look.read(['app-01'], running);
  expect(await look.read(['app-01'], running)).toEqual([failedOver]);
  expect(await look.read(['app-01'], undefined)).toEqual([failedOver]);
  expect(asked).toBe(1);
  await look.read([], running);
  expect(asked).toBe(2);
  // Its replica VM is deleted, and the vault says so.
  said = [{ vm: 'db-01', asProtected: false }];
  expect(await look.read([], new Map())).toEqual(said);
  await look.read([], new Map());
  expect(asked).toBe(3);
});

it('does not keep the answer that it got while a replica VM was being deleted', async () => {
  let said: HeldReplica[] = [failedOver];
  const look = new HeldLook(() => Promise.resolve(said));
  expect(await look.read([], new Map())).toEqual([failedOver]);
  said = [];
  expect(await look.read([], new Map())).toEqual([]);
});
