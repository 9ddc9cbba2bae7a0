/** VMs as they are shown, including silences of hosts that were just found. */
import type { ProtectedItem } from '../domain/protected-item.js';
import { LocalSite } from '../local/local-site.js';
import { withUntoldSilence, type Watched } from '../temporal/untold-silence.js';
import type { Place } from './commands/place.js';
import type { Farshore } from './farshore.js';

export function hostsWatched({ temporal }: Farshore, { site: { site }, data, instance }: Place): Watched {
  const local = new LocalSite(site, data);
  return {
    temporal,
    vault: site.vault.name,
    hypervisorAnswers: (host) => local.hypervisorAnswers(host, instance !== undefined),
  };
}

export const toldItems = (
  farshore: Farshore,
  place: Place,
  items: ReadonlyMap<string, ProtectedItem>,
): Promise<ReadonlyMap<string, ProtectedItem>> => withUntoldSilence(hostsWatched(farshore, place), items);
