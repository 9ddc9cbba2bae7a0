import { expect, it } from 'vitest';
import { powerText, remarkOnPlace, whereText } from '../../client/commands/vm-where.js';
import { toldOf } from '../../domain/host-silence.js';
import { viewOf } from '../../domain/item-view.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import type { HypervisorVm } from '../../local/local-site.js';
import { at, newItem } from '../domain/random-life.js';

const vm = (state: 'Running' | 'Off'): HypervisorVm => ({ name: 'db-01', state, disks: [] }) as unknown as HypervisorVm;
const known = (source: 'Running' | 'Off' | undefined, changes?: Partial<ProtectedItem>) => ({
  view: changes && viewOf({ ...newItem(), ...changes }, at(1000)),
  held: undefined,
  answer: source === undefined ? { answered: false } : { answered: true, vm: vm(source) },
});
const failedOver = { phase: 'FailedOver', activeSide: 'recovery' } as const;

it('says that a VM is off at the primary site, protected or not', () => {
  for (const changes of [undefined, { phase: 'Protected' } as const]) {
    expect(whereText(known('Off', changes))).toBe('is off at the primary site');
    expect(remarkOnPlace('db-01', known('Off', changes))).toEqual(['off at the primary site: farshore vm start db-01']);
    expect(whereText(known('Running', changes))).toBe('runs at the primary site');
    expect(remarkOnPlace('db-01', known('Running', changes))).toEqual([]);
    // Where nobody can tell, nothing is claimed.
    expect(remarkOnPlace('db-01', known(undefined, changes))).toEqual([]);
  }
});

it('does not say that a VM runs if its host does not answer', () => {
  const silence = { host: newItem().host, since: at(990), silent: 'agent' as const };
  const { view, ...rest } = known(undefined, { phase: 'Protected' });
  const silent = { ...rest, view: viewOf(toldOf(view!.item, silence), at(1000)) };
  expect(whereText(silent)).toBe('ran at the primary site when its host was last heard');
  expect(whereText({ ...silent, answer: { answered: true, vm: vm('Running') } })).toBe('runs at the primary site');
});

it('says that the VM on the host is the source, if it was failed over', () => {
  expect(remarkOnPlace('db-01', known('Off', failedOver))).toEqual([
    'runs at the recovery site; POWER shows its source',
  ]);
  expect(remarkOnPlace('db-01', known(undefined, failedOver))).toEqual(['runs at the recovery site']);
  expect(powerText(known('Off', failedOver))).toBe('its source there: Off');
  expect(whereText(known('Off', failedOver))).toBe('runs at the recovery site');
  const both = known('Running', failedOver);
  expect(remarkOnPlace('db-01', both)).toEqual(['runs at both sites: POWER shows its source, which must be off']);
  expect(whereText(both)).toBe('runs at the recovery site, and so does its source at the primary site');
  expect(whereText({ ...known('Off', failedOver), replicaVm: 'Off' })).toBe('is off at the recovery site');
});

it('does not say that a VM runs at the recovery site if its replica VM is off or missing', () => {
  const gone = { ...known('Off', failedOver), replicaVm: 'NotThere' } as const;
  expect(whereText(gone)).toBe('should run at the recovery site, but its replica VM does not exist');
  for (const each of [gone, { ...gone, replicaVm: 'Off' } as const]) {
    expect(remarkOnPlace('db-01', each)).toEqual([
      'should run at the recovery site but does not: farshore vm start db-01',
    ]);
  }
});
