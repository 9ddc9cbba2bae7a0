/**
 * Hosts that do not answer although their VMs' entities have not been told yet. That takes up to a minute, during which
 * commands must not report that all is well.
 */
import type { Client } from '@temporalio/client';
import { hostSilence, toldOf, type HostSilence } from '../domain/host-silence.js';
import { isReplicated, type ProtectedItem } from '../domain/protected-item.js';
import { earlier, toIso, toMs } from '../domain/time.js';
import { listenTo, newestLook, type NewestLook } from './host-hearing.js';

/** A host that has missed this many looks is listened to before it is reported. */
const MISSED = 3;

export interface Watched {
  readonly temporal: Client;
  readonly vault: string;
  /** Whether a host's hypervisor answers on this machine; undefined if it does not run here. */
  hypervisorAnswers(host: string): Promise<boolean | undefined>;
}

/** @returns the VMs in the state they will have when they have been told of their hosts' current state. */
export async function withUntoldSilence(
  watched: Watched,
  items: ReadonlyMap<string, ProtectedItem>,
): Promise<ReadonlyMap<string, ProtectedItem>> {
  const known = await withoutPastSilence(watched, items);
  return allToldOf(known, await untoldSilences(watched, known));
}

/** A host that was just heard answers again: its VMs are told of that in a moment. */
async function withoutPastSilence(
  { temporal, vault }: Watched,
  items: ReadonlyMap<string, ProtectedItem>,
): Promise<ReadonlyMap<string, ProtectedItem>> {
  const silent = [...items.values()].filter(({ hostTrouble }) => hostTrouble !== undefined);
  const hosts = [...new Set(silent.map(({ host }) => host))];
  const looks = await Promise.all(hosts.map((host) => newestLook(temporal, vault, host).catch(() => undefined)));
  const answering = new Set(hosts.filter((_, index) => isRecent(looks[index])));
  return new Map([...items].map(([vm, item]) => [vm, answering.has(item.host) ? withoutTrouble(item) : item]));
}

const withoutTrouble = ({ hostTrouble: _, ...item }: ProtectedItem): ProtectedItem => item;

const isRecent = (look: NewestLook | undefined): boolean =>
  look !== undefined && Math.abs(Date.now() - toMs(look.heardAt)) < MISSED * look.everyMs;

/** The VMs in the state they will have when they have been told of these silences. */
export function allToldOf(
  items: ReadonlyMap<string, ProtectedItem>,
  silences: readonly HostSilence[],
): ReadonlyMap<string, ProtectedItem> {
  if (silences.length === 0) return items;
  return new Map([...items].map(([vm, item]) => [vm, silences.reduce(toldOf, item)]));
}

/** The silences of hosts whose VMs have not been told. */
export async function untoldSilences(
  watched: Watched,
  items: ReadonlyMap<string, ProtectedItem>,
): Promise<HostSilence[]> {
  const untold = [...items.values()].filter((item) => isReplicated(item) && !hostSilence(item));
  const hosts = [...new Set(untold.map(({ host }) => host))];
  const found = await Promise.all(hosts.map((host) => silenceNow(watched, host)));
  return found.filter((silence) => silence !== undefined);
}

async function silenceNow(
  { temporal, vault, hypervisorAnswers }: Watched,
  host: string,
): Promise<HostSilence | undefined> {
  const here = await hypervisorAnswers(host);
  let look = await newestLook(temporal, vault, host).catch(() => undefined);
  if (isRecent(look) && here !== false) return undefined;
  const heard = await listenTo(temporal, vault, host);
  if (here !== false) {
    // A single look while we listened proves neither that the host answers nor that it does not.
    if (!heard || heard.answers || heard.look?.heardAt !== look?.heardAt) return undefined;
  }
  look = heard?.look ?? look;
  const now = toIso(Date.now());
  return {
    host,
    since: look ? earlier(look.askedAt, now) : now,
    ...(look && { heardAt: look.heardAt }),
    silent: heard?.agentAnswers ? 'hypervisor' : 'agent',
  };
}
