/**
 * Turns a cut of the source into a complete cycle. A source may lose a cut (see its port). As long as no manifest names
 * the cut, that is harmless: the cycle is cut and sent again. Once a manifest names it, the cycle has the content of
 * the lost cut, but the source would continue from another one. Writes between the two would be lost, so the whole
 * difference has to be found by a resynchronization.
 */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, type Fence } from '../domain/fence.js';
import type { CycleManifest } from '../domain/vault.js';
import type { ChangeSource, Cut, CutOptions } from '../ports/change-source.js';
import type { RecordStore } from '../ports/replica-store.js';
import { findManifest } from './received-cycles.js';

/**
 * How many times a cycle is cut in one attempt. If more cuts are lost, there is another problem, which should become
 * visible.
 */
const MOST_CUTS = 3;

export interface CycleTask extends Fence {
  readonly vm: string;
}

export interface CutCycle {
  readonly manifest: CycleManifest;
  /** The cycle did not exist before. */
  readonly isNew: boolean;
}

/**
 * @param ship sends a cut and completes the cycle.
 * @throws CatalogueError LogBroken if the cycle exists, its manifest is damaged, and its cut is gone; CutGone; the
 * errors of `ship` and of the source.
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
      // A cycle that exists but is damaged must be made again from the same cut, or not at all.
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

/** The source releases a cut that has arrived. @throws CatalogueError LogBroken if it has lost the cut of the cycle. */
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
