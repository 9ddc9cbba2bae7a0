/** All VMs to show: those of the site file, and other protected ones. */
import { namesOf } from '../domain/board.js';
import { viewOf, type ProtectedItemView } from '../domain/item-view.js';
import { isProtected } from '../domain/protected-item.js';
import type { SiteVm } from '../domain/site.js';
import { toIso } from '../domain/time.js';
import type { Place } from './commands/place.js';
import { RefusedError } from './errors.js';
import type { Farshore } from './farshore.js';
import { overviewOf } from './overview.js';
import { toldItems } from './told-items.js';

export interface KnownVm {
  readonly name: string;
  /** Undefined if the site file does not name it: it was renamed there, or removed. */
  readonly siteVm: SiteVm | undefined;
  /** Undefined while it is not protected. */
  readonly view: ProtectedItemView | undefined;
}

/** Those of the site file first, in its order. @throws UnreachableError */
export async function knownVms(farshore: Farshore, place: Place): Promise<KnownVm[]> {
  const { items } = await overviewOf(farshore);
  const siteVms = new Map(farshore.site.vms.map((vm) => [vm.name, vm]));
  const known = await Promise.all(
    namesOf([...siteVms.keys()], items).map(async (name) => ({
      name,
      siteVm: siteVms.get(name),
      // The list is up to a second old, so a VM whose protection has ended since is left out.
      view: await farshore.protectedItem(name).catch(notThereAnyMore),
    })),
  );
  const views = await toldViews(
    farshore,
    place,
    known.flatMap(({ view }) => view ?? []),
  );
  return known
    .map((each) => ({ ...each, view: views.get(each.name) }))
    .filter(({ siteVm, view }) => siteVm || (view && isProtected(view.item)));
}

/** Keyed by VM: the views that commands should show, including silences of hosts that were just found. */
export async function toldViews(
  farshore: Farshore,
  place: Place,
  views: readonly ProtectedItemView[],
): Promise<ReadonlyMap<string, ProtectedItemView>> {
  const told = await toldItems(farshore, place, new Map(views.map(({ item }) => [item.vm, item])));
  const at = toIso(Date.now());
  return new Map(
    views.map((view) => {
      const item = told.get(view.item.vm)!;
      return [item.vm, item === view.item ? view : viewOf(item, at)];
    }),
  );
}

function notThereAnyMore(error: unknown): undefined {
  if (!(error instanceof RefusedError)) throw error;
}
