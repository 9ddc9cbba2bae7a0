import { join } from 'node:path';
import { expect, test } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import { readHeldReplicas, readVault } from '../../local/local-vault.js';
import { temporaryFolder } from '../support/temporary-folder.js';

test('a VM with a damaged record does not hide the others, and counts as needing attention', async () => {
  const path = join(await temporaryFolder(), 'store');
  const store = await EmbeddedReplicaStore.open(path, { create: true });
  const put = (vm: string, record: object | string) =>
    store.objects.put(
      vaultPaths.description(vm),
      Buffer.from(typeof record === 'string' ? record : JSON.stringify(record)),
      { scope: vaultPaths.vm(vm), epoch: 1, sequence: 0 },
    );
  const description = {
    ...{ vm: 'db-01', host: 'hv-01', vmmServer: 'vmm-01', epoch: 1, generation: 2, size: 'Standard_D2s_v5' },
    ...{ osDisk: 'os', disks: [], networkAdapters: [], finalized: true },
  };
  await put('db-01', description);
  await put('app-01', '{"broken');
  await put('old-01', { ...description, vm: 'old-01', unprotectedAt: '2026-01-01T00:00:00.000Z' });
  await store.close();
  const address = { kind: 'embedded', path } as const;
  const held = await readHeldReplicas({ name: 'vault-01', store: address }, ['web-01']);
  expect(held).toEqual([
    { vm: 'app-01', asProtected: true },
    { vm: 'db-01', asProtected: true },
    { vm: 'old-01', asProtected: false },
  ]);
  const { vms, unreadable } = await readVault(address);
  expect(vms.map(({ vm }) => vm)).toEqual(['db-01', 'old-01']);
  expect(unreadable).toMatchObject([{ vm: 'app-01', problem: expect.stringContaining('is not JSON') }]);
});
