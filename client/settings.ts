/** How a protected VM is replicated, changed while it is. Each throws RefusedError when the VM's state does not allow it. */
import { randomUUID } from 'node:crypto';
import { policyNamed, policyNames } from '../domain/site.js';
import * as messages from '../workflows/messages.js';
import { RefusedError } from './errors.js';
import type { Farshore } from './farshore.js';

/** Lets replication rest; changes are tracked all the same. */
export function pauseReplication(farshore: Farshore, vm: string): Promise<{ readonly since: string }> {
  const requestId = randomUUID();
  return farshore.ask(vm, (entity) => entity.executeUpdate(messages.pauseUpdate, { args: [{ requestId }] }));
}

/** Ends a pause with a cycle at once. */
export function resumeReplication(farshore: Farshore, vm: string): Promise<messages.NextCycle> {
  const requestId = randomUUID();
  return farshore.ask(vm, (entity) => entity.executeUpdate(messages.resumeUpdate, { args: [{ requestId }] }));
}

/** From the next cycle on. @param name of a policy of the site file; `default` is there always. */
export async function setPolicy(farshore: Farshore, vm: string, name: string): Promise<messages.NextCycle> {
  const { site } = farshore;
  const policy = policyNamed(site, name);
  if (!policy) throw new RefusedError(`there is no policy ${name}; use one of: ${policyNames(site).join(', ')}`);
  const args: [messages.PolicyRequest] = [{ requestId: randomUUID(), policy }];
  return farshore.ask(vm, (entity) => entity.executeUpdate(messages.setPolicyUpdate, { args }));
}
