import { randomUUID } from 'node:crypto';
import * as messages from '../../workflows/messages.js';
import type { SimulatedSite } from './simulated-site.js';
import type { TestVault } from './test-vault.js';

/**
 * A protected VM whose cycle is retried twice, the second time while the attempt is under way that fails with what needs a
 * person.
 * @returns calls of cutAndShip before that attempt.
 */
export async function retriedDuringAttempt(site: SimulatedSite, vault: TestVault, vm: string): Promise<number> {
  const entity = await vault.protect(vm);
  const retry = () => entity.executeUpdate(messages.retryUpdate, { args: [{ requestId: randomUUID() }] });
  await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
  site.fail('cutAndShip', 'StoreUnreachable', 1);
  await vault.until(entity, ({ item }) => item.retry !== undefined, 10_000);
  const letGo = site.gate('cutAndShip');
  const before = site.called('cutAndShip').length;
  await retry();
  await vault.until(entity, () => site.called('cutAndShip').length === before + 1, 100);
  await retry();
  site.fail('cutAndShip', 'DiskMissing');
  letGo();
  await vault.until(entity, ({ item }) => item.retry?.failure.code === 'DiskMissing');
  return before;
}
