/**
 * From a cut of the source to a cycle that exists. A source may lose what it has cut (see its port). As long as no manifest
 * names the cut nobody misses it: the cycle is cut again, and sent anew. Once one does, the cycle is what the lost cut held,
 * and the source would go on from another one: what was written between the two would be lost, so that the whole difference
 * has to be found.
 */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, type Fence } from '../domain/fence.js';
import type { CycleManifest } from '../domain/vault.js';
import type { ChangeSource, Cut, CutOptions } from '../ports/change-source.js';
import type { RecordStore } from '../ports/replica-store.js';
import { findManifest } from './received-cycles.js';

/** So often a cycle is cut in one attempt. Who loses more has some other trouble, and others are to see it. */
const MOST_CUTS = 3;

export interface CycleTask extends Fence {
  readonly vm: string;
}

export interface CutCycle {
  readonly manifest: CycleManifest;
  /** It did not exist before. */
  readonly isNew: boolean;
}

/**
 * @param ship sends a cut, and makes the cycle exist.
 * @throws CatalogueError LogBroken when the cycle exists, its manifest is damaged, and its cut is gone; CutGone; what
 * `ship` and the source throw.
 */
export async function cutCycle(
  source: ChangeSource,
  store: RecordStore,
  task: CycleTask,
  ship: (cut: Cut) => Promise<CycleManifest>,
  options: CutOptions = {},
): Promise<CutCycle> {
  const { vm, epoch, sequence } = task;
  for (let cuts = 1; ; cuts += 1) {
    const found = await findManifest(store, vm, task);
    if (found && found !== 'damaged') return { manifest: found, isNew: false };
    try {
      // One that exists and is damaged is made again of the same cut, or not at all.
      const existing = found === 'damaged' && { existing: true };
      const cut = await source.cut(vm, { epoch, sequence }, { ...options, ...existing });
      return { manifest: await ship(cut), isNew: true };
    } catch (error) {
      if (!isCutGone(error)) throw error;
      if (found === 'damaged') throw lost(task, error);
      if (cuts === MOST_CUTS) throw error;
    }
  }
}

/** The source lets go of what has arrived. @throws CatalogueError LogBroken when it has lost the cut of the cycle. */
export async function releaseCycle(source: ChangeSource, manifest: CycleManifest): Promise<void> {
  try {
    await source.releaseCuts(manifest);
  } catch (error) {
    throw isCutGone(error) ? lost(manifest, error) : error;
  }
}

const isCutGone = (error: unknown): error is CatalogueError =>
  error instanceof CatalogueError && error.code === 'CutGone';

const lost = (cycle: CycleTask, cause: CatalogueError): CatalogueError =>
  new CatalogueError(
    'LogBroken',
    `${cycle.vm}: ${formatFence(cycle)} has arrived, but its source no longer holds the cut (${cause.detail})`,
    { cause },
  );
