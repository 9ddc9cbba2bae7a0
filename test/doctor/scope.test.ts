/** What `doctor` looks at: all that the site file names, and what protected VMs need besides. */
import { expect, test } from 'vitest';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { siteSchema } from '../../domain/site.js';
import { queuesOf } from '../../doctor/queues.js';
import { scopeOf } from '../../doctor/scope.js';
import { at, newItem } from '../domain/random-life.js';

const disks = [{ name: 'os', path: '/os.img' }];
const site = siteSchema.parse({
  vault: { name: 'vault-1', store: { kind: 'embedded', path: '/store' } },
  vmmServers: [{ name: 'vmm-1', clouds: [{ name: 'cloud', hosts: [{ name: 'host-1' }] }] }],
  vms: [{ name: 'db-01', host: 'host-1', disks }],
});
const item = (vm: string, changes: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newItem(),
  vm,
  phase: 'Protected',
  ...changes,
});

test('without other protected VMs, everything in the site file is the whole scope', () => {
  const scope = scopeOf(site, [item('db-01')]);
  expect(scope).toEqual(scopeOf(site));
  expect(scope).toEqual({
    vmmServers: [{ name: 'vmm-1' }],
    hosts: [{ name: 'host-1', vms: ['db-01'], unnamedVms: [] }],
  });
});

test('VMs, hosts and VMM servers that protected VMs still need are checked, too', () => {
  const scope = scopeOf(site, [
    item('old-01'),
    item('gone-01', { host: 'host-0' }),
    item('db-01', { host: 'host-0', vmmServer: 'vmm-0' }),
  ]);
  expect(scope.hosts).toEqual([
    { name: 'host-1', vms: ['db-01'], unnamedVms: ['old-01'] },
    { name: 'host-0', onlyFor: ['gone-01'], vms: [], unnamedVms: ['gone-01'] },
  ]);
  expect(scope.vmmServers).toEqual([{ name: 'vmm-1' }, { name: 'vmm-0', onlyFor: ['db-01'] }]);
  const [vmm, host] = queuesOf(site.vault.name, scope).filter(({ queue }) => queue.endsWith('-0'));
  expect(vmm).toMatchObject({
    queue: 'vmm:vault-1/vmm-0',
    remedy:
      'add the VMM server vmm-0, which db-01 still uses, to the site file again; then start the worker: farshore worker --role vmm --name vmm-0',
  });
  expect(host).toMatchObject({
    queue: 'host:vault-1/host-0',
    remedy: expect.stringContaining('which gone-01 still uses, to the site file again; then'),
  });
});

test('a committed VM needs nothing of a primary site that is gone', () => {
  const gone = { host: 'host-0', vmmServer: 'vmm-0', phase: 'Committed', activeSide: 'recovery' } as const;
  expect(scopeOf(site, [item('old-01', gone)])).toEqual(scopeOf(site));
  const owed = item('old-01', { ...gone, sourceFence: { epoch: 2, since: at(1) } });
  expect(scopeOf(site, [owed]).hosts).toHaveLength(2);
});
