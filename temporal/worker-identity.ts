/**
 * The identity of a worker in lists and in every event of its work: `<role>:<name>@<machine>:<process id>`. A worker
 * with keys adds ` key <id>/<fingerprint>` of the key that was current when it started.
 */
import { hostname } from 'node:os';

export interface WorkerIdentity {
  /** Identifies the worker independently of its process: `<role>:<name>@<machine>`. */
  readonly worker: string;
  /** `<id>/<fingerprint>`; undefined if it was started without keys. */
  readonly key: string | undefined;
}

/** @param key as returned by `KeyRing.label`. */
export const workerIdentity = (role: string, name: string, key: string | undefined): string =>
  `${role}:${name}@${hostname()}:${process.pid}${key === undefined ? '' : ` key ${key}`}`;

/** Undefined for an identity in another format. */
export function parseWorkerIdentity(identity: string): WorkerIdentity | undefined {
  const [, worker, key] = /^((?:azure|vmm|host):.+@.+):\d+(?: key (\S+))?$/.exec(identity) ?? [];
  return worker === undefined ? undefined : { worker, key };
}
