/** Reads recovery points of a VM as somebody does who has nothing but the store, and puts them to the prefix check. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { toMs } from '../../domain/time.js';
import type { OrderedGuest } from './ordered-guest.js';
import { checkPrefix, withFiles } from './prefix-check.js';
import type { SmallSite } from './small-site.js';
import type { StoreUnderTest } from './store-under-test.js';

interface ListedPoint {
  readonly id: string;
  readonly time: string;
}

/** The recovery points the store lists of a VM, in its order. */
export async function listedPoints(site: SmallSite, store: StoreUnderTest, vm: string): Promise<ListedPoint[]> {
  const { value, stderr } = await site.shell.json('vault', 'list', ...store.arguments);
  const found = (value as { vms: { vm: string; recoveryPoints: ListedPoint[] }[] } | undefined)?.vms.find(
    (candidate) => candidate.vm === vm,
  );
  if (!found) throw new Error(`the vault lists no ${vm}: ${stderr}`);
  return found.recoveryPoints;
}

export interface CheckedPoint extends ListedPoint {
  /** How many of the guest's blocks it holds. */
  readonly last: number;
  readonly faults: readonly string[];
}

/** Exports a recovery point, as `farshore vault export` does, and reads the files as they are. @throws when it is refused. */
export async function checkPoint(
  site: SmallSite,
  store: StoreUnderTest,
  guest: OrderedGuest,
  point: ListedPoint,
): Promise<CheckedPoint> {
  const folder = path.join(site.folder, 'exported', `${guest.vm}-${point.id}`);
  await store.exportPoint(guest.vm, point.id, folder);
  const files = guest.disks.map((disk) => path.join(folder, `${disk}.vhd`));
  const report = await withFiles(files, (sources) => checkPrefix(guest, sources, toMs(point.time)));
  await rm(folder, { recursive: true, force: true });
  return { ...point, ...report };
}
