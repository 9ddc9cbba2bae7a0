/** The check of what was left behind: is there anything that no VM needs and that a person should look at? */
import { setTimeout as sleep } from 'node:timers/promises';
import { counted } from '../domain/counted.js';
import { CatalogueError } from '../domain/errors.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { Site } from '../domain/site.js';
import { toMs } from '../domain/time.js';
import type { DataFolder } from '../config/data-folder.js';
import { findLeftovers, withPlaces, type FoundLeftovers, type Leftover } from '../local/leftovers.js';
import { ok, skipped, warning, type Check, type Finding } from './check.js';

/** A younger one may belong to a job that has just ended, ms. */
const OLD_MS = 24 * 60 * 60_000;
/** A large store takes longer; other checks don't wait for it. */
const PATIENCE_MS = 15_000;
/** How many are named. */
const NAMED = 3;

/** @param items undefined while Temporal does not answer. */
export const leftoversCheck = (
  site: Site,
  data: DataFolder,
  items: ReadonlyMap<string, ProtectedItem> | undefined,
): Check => ({
  name: 'Leftovers',
  run: async () => {
    if (!items) return skipped('it is unknown which VMs are protected');
    try {
      const looked = withPlaces(site, data, (places) => findLeftovers(places, async (vm) => items.get(vm)));
      const found = await Promise.race([looked, sleep(PATIENCE_MS, undefined, { ref: false })]);
      if (!found)
        return skipped(`looking through everything takes longer than ${PATIENCE_MS / 1000} s: farshore leftovers`);
      return leftoversFinding(found, Date.now());
    } catch (error) {
      if (!(error instanceof CatalogueError)) throw error;
      return skipped(`the store can't be looked through: ${error.message}`);
    }
  },
});

/** @param now ms since 1970. */
export function leftoversFinding({ leftovers, unknown }: FoundLeftovers, now: number): Finding {
  const old = leftovers.filter(({ since }) => since !== undefined && now - toMs(since) > OLD_MS);
  const elsewhere = unknown.length === 0 ? '' : ` (not looked through: ${unknown.join(', ')})`;
  if (old.length > 0) {
    const rest = old.length > NAMED ? `, and ${old.length - NAMED} more` : '';
    const what = `${old.slice(0, NAMED).map(nameOf).join('; ')}${rest}`;
    const is =
      old.length === 1 ? 'is older than a day and needed by no VM' : 'are older than a day and needed by no VM';
    const vms = [...new Set(old.map(({ vm }) => vm))];
    return { ...warning(`${counted(old.length, 'leftover')} ${is}: ${what}${elsewhere}`, 'farshore leftovers'), vms };
  }
  return ok(`nothing that no VM needs is older than a day${elsewhere}`);
}

const nameOf = ({ text, vm, where }: Leftover): string => `${text} of ${vm} (${where})`;
