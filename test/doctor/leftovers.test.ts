import { expect, test } from 'vitest';
import { leftoversFinding } from '../../doctor/leftovers.js';
import type { Leftover } from '../../local/leftovers.js';
import { toMs } from '../../domain/time.js';

const NOW = toMs('2026-03-03T12:00:00.000Z');
const leftover = (vm: string, since?: string): Leftover => ({
  ...{ kind: 'changeSets', vm, id: `store/${vm}/change-sets`, where: 'store', text: 'change sets of a failback' },
  ...{ reason: 'no failback is running', ...(since !== undefined && { since }) },
});
const of = (leftovers: readonly Leftover[], unknown: readonly string[] = []) =>
  leftoversFinding({ leftovers, kept: [], unknown }, NOW);

test('only what is older than a day is a warning, which names the command', () => {
  expect(of([])).toMatchObject({ status: 'ok' });
  expect(of([leftover('db-01', '2026-03-03T10:00:00.000Z'), leftover('db-02')])).toMatchObject({ status: 'ok' });
  expect(of([leftover('db-01', '2026-03-01T10:00:00.000Z')])).toEqual({
    status: 'warning',
    message: '1 leftover is older than a day and needed by no VM: change sets of a failback of db-01 (store)',
    remedy: 'farshore leftovers',
    vms: ['db-01'],
  });
});

test('many leftovers are counted, and places that do not answer are named', () => {
  const all = ['a', 'b', 'c', 'd', 'e'].map((vm) => leftover(vm, '2026-03-01T10:00:00.000Z'));
  expect(of(all, ['h2']).message).toMatch(/^5 leftovers are older.*\(store\), and 2 more \(not looked through: h2\)$/);
});
