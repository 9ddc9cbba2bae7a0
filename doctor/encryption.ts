/** Checks of encryption: is the key file valid, and do the workers have the same keys as this machine? */
import { disagreement } from '../temporal/encryption/key-agreement.js';
import { KEY_FILE_VARIABLE } from '../temporal/encryption/key-file.js';
import type { KeyRing } from '../temporal/encryption/key-ring.js';
import type { Poller } from '../temporal/pollers.js';
import { ok, problem, skipped, type Finding } from './check.js';

const BY = `the environment variable ${KEY_FILE_VARIABLE}`;

/** @param polled the pollers of each task queue. @param keys undefined if none are configured here. */
export function encryptionFindings(
  polled: readonly (readonly Poller[])[],
  keys: KeyRing | undefined,
): Finding | readonly Finding[] {
  const found = polled.map((pollers) => disagreement(keys, pollers)).filter((one) => one !== undefined);
  if (found.length > 0) return found.map((one) => problem(one.problem, one.remedy, keys && BY));
  const workers = polled.some((pollers) => pollers.length > 0);
  if (!keys) {
    return workers
      ? ok('the data in Temporal is not encrypted: neither this machine nor a worker has keys')
      : skipped('no keys are configured on this machine, and no worker is running that could have keys');
  }
  const own = `key ${keys.current.id} of ${keys.file} is in use`;
  return ok(workers ? `${own}, and the workers have the same keys` : own, BY);
}
