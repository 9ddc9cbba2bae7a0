/**
 * A network that connects only the guests of one site: a multicast group on this machine's loopback interface, which
 * needs no privileges. Guests with the same scope and network name are on the same network.
 */
import { createHash } from 'node:crypto';

export interface GuestNetwork {
  /** Address of the group. */
  readonly address: string;
  readonly port: number;
}

const LOWEST_PORT = 20_000;
const PORTS = 10_000;

/** @param scope such as the vault and the site. @param name name of the network. */
export function guestNetwork(scope: string, name: string): GuestNetwork {
  const digest = createHash('sha256').update(`${scope}\0${name}`).digest();
  return {
    // Groups for local use (RFC 2365).
    address: `239.255.${digest[0]}.${digest[1]}`,
    port: LOWEST_PORT + (digest.readUInt32BE(2) % PORTS),
  };
}
