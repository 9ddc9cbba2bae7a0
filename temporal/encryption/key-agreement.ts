/** Checks whether workers and clients have the same keys; otherwise they could not read each other's data. */
import { parseWorkerIdentity } from '../worker-identity.js';
import { POLLER_GONE_MS, type Poller } from '../pollers.js';
import { KEY_FILE_VARIABLE } from './key-file.js';
import type { KeyRing } from './key-ring.js';

export interface Disagreement {
  /** A sentence without a full stop. */
  readonly problem: string;
  readonly remedy: string;
}

/**
 * @param keys of this process. @param pollers of one task queue.
 * @returns the problem of the first worker whose keys do not match. A key that was added after a worker had started is
 * not a problem: the worker reads its file again when it meets the key.
 */
export function disagreement(keys: KeyRing | undefined, pollers: readonly Poller[]): Disagreement | undefined {
  for (const { worker, key } of runningWorkers(pollers)) {
    const found = disagreementWith(keys, worker, key);
    if (found) return found;
  }
  return undefined;
}

/** The newest process of each worker that has polled recently; identities in another format are not ours. */
function runningWorkers(pollers: readonly Poller[]) {
  const newest = Math.max(...pollers.map(({ at }) => at));
  const byWorker = new Map<string, { at: number; worker: string; key: string | undefined }>();
  for (const { identity, at } of pollers) {
    const parsed = parseWorkerIdentity(identity);
    if (!parsed || newest - at > POLLER_GONE_MS) continue;
    if (at >= (byWorker.get(parsed.worker)?.at ?? 0)) byWorker.set(parsed.worker, { ...parsed, at });
  }
  return byWorker.values();
}

function disagreementWith(
  keys: KeyRing | undefined,
  worker: string,
  key: string | undefined,
): Disagreement | undefined {
  if (!keys) {
    if (key === undefined) return undefined;
    return {
      problem: `the worker ${worker} encrypts its data in Temporal, but no keys are configured here`,
      remedy: `set ${KEY_FILE_VARIABLE} to the site's key file, which contains the key ${idOf(key)}`,
    };
  }
  if (key === undefined) {
    return {
      problem: `the worker ${worker} was started without keys and cannot decrypt data that is encrypted with the keys of ${keys.file}`,
      remedy: `restart it with ${KEY_FILE_VARIABLE} set, or unset the variable here`,
    };
  }
  const own = keys.label(idOf(key));
  if (own === key) return undefined;
  return {
    problem:
      own === undefined
        ? `the worker ${worker} encrypts with the key ${idOf(key)}, which ${keys.file} does not have; it has: ${keys.ids.join(', ')}`
        : `the worker ${worker} and ${keys.file} have different keys with the id ${idOf(key)}`,
    remedy: `use the same key file on this machine and the worker's (${KEY_FILE_VARIABLE})`,
  };
}

const idOf = (label: string): string => label.slice(0, label.lastIndexOf('/'));
