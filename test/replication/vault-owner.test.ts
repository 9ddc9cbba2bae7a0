import { expect, test } from 'vitest';
import { claimStore, requireOwner } from '../../replication/vault-owner.js';
import { vaultPaths } from '../../domain/vault.js';
import { failsWith } from '../support/fails-with.js';
import { openStore } from './replica-fixture.js';

test('a store has no owner at first, then belongs to the vault that claims it first', async () => {
  const { store } = await openStore();
  await requireOwner(store, 'vault-01');
  await claimStore(store, 'vault-01');
  await claimStore(store, 'vault-01');
  await requireOwner(store, 'vault-01');
  for (const ask of [claimStore, requireOwner]) {
    const { detail } = await failsWith('ForeignVault', ask(store, 'vault-02'));
    expect(detail).toBe('it belongs to the vault vault-01, but the site file describes the vault vault-02');
  }
  const told = { vault: 'vault-01', checksum: expect.any(String) };
  expect(JSON.parse((await store.objects.get(vaultPaths.owner))!.toString())).toEqual(told);
});

test('if several vaults claim it at the same time, one gets it', async () => {
  const { store } = await openStore();
  const vaults = ['a', 'b', 'c', 'd'];
  const ends = await Promise.allSettled(vaults.map((vault) => claimStore(store, vault)));
  expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  const winner = vaults[ends.findIndex(({ status }) => status === 'fulfilled')]!;
  await requireOwner(store, winner);
});

test('a damaged record does not name an owner', async () => {
  const { store } = await openStore();
  await store.objects.put(vaultPaths.owner, Buffer.from('{'), { scope: vaultPaths.ownerScope, epoch: 0, sequence: 0 });
  await failsWith('InvalidReplicaState', claimStore(store, 'vault-01'));
});
