/**
 * What a worker is called where it is listed and in every event of what it did: `<role>:<name>@<machine>:<process id>`, and,
 * when it encrypts, ` key <id>/<fingerprint>` of the key in use when it was started.
 */
import { hostname } from 'node:os';

export interface WorkerIdentity {
  /** The worker, whichever process it is: `<role>:<name>@<machine>`. */
  readonly worker: string;
  /** `<id>/<fingerprint>`; undefined when it was started without keys. */
  readonly key: string | undefined;
}

/** @param key as `KeyRing.label` gives it. */
export const workerIdentity = (role: string, name: string, key: string | undefined): string =>
  `${role}:${name}@${hostname()}:${process.pid}${key === undefined ? '' : ` key ${key}`}`;

/** Undefined for an identity of somebody else. */
export function parseWorkerIdentity(identity: string): WorkerIdentity | undefined {
  const [, worker, key] = /^((?:azure|vmm|host):.+@.+):\d+(?: key (\S+))?$/.exec(identity) ?? [];
  return worker === undefined ? undefined : { worker, key };
}
