/** Who else has access to the checked Temporal: anyone who has can do everything Farshore does. */
import { readFile } from 'node:fs/promises';
import type { ConnectTarget } from '../temporal/connection.js';
import { isLoopback } from '../temporal/direct-loopback.js';
import { counted } from '../domain/counted.js';
import { ok, warning, type Finding } from './check.js';

const READ = 'docs/security.md, "Who may use Temporal"';
/** The first user id of a person; lower ones belong to system services. */
const FIRST_PERSON = 1_000;
const NOBODY = 65_534;

/** @param accounts the file with the accounts of this machine. */
export async function temporalAccess(target: ConnectTarget, accounts = '/etc/passwd'): Promise<Finding> {
  const { address, connectionOptions, configuredBy } = target;
  const { tls, apiKey } = connectionOptions;
  const hasCertificate = typeof tls === 'object' && tls?.clientCertPair !== undefined;
  if (apiKey !== undefined || hasCertificate) {
    return ok(
      `connects to ${address} with ${apiKey === undefined ? 'a client certificate' : 'an API key'}`,
      configuredBy,
    );
  }
  if (!isLoopback(address)) {
    const message = `connects to ${address} without an API key or a client certificate: anyone who can connect may do everything that Farshore can`;
    return warning(message, `let the server authenticate its clients; ${READ}`, configuredBy);
  }
  const others = await otherPeople(accounts);
  const open = 'a server on this machine that does not authenticate its clients';
  if (others.length === 0)
    return ok(`${address} is ${open}, but no other user can log in to this machine`, configuredBy);
  const [first] = others;
  const who = others.length === 1 ? first : `${first} and ${counted(others.length - 1, 'other')}`;
  const message = `${address} is ${open}: ${who} may do everything that Farshore can`;
  return warning(message, `let only your own user connect, or use a Temporal with credentials; ${READ}`, configuredBy);
}

/** Accounts that can log in. */
async function otherPeople(accounts: string): Promise<string[]> {
  const text = await readFile(accounts, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    const [name = '', , uid, , , , shell = ''] = line.split(':');
    const isPerson = Number(uid) >= FIRST_PERSON && Number(uid) < NOBODY && !/(nologin|false)$/.test(shell);
    return isPerson && Number(uid) !== process.getuid?.() ? [name] : [];
  });
}
