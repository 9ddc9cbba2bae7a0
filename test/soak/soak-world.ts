/** What the parts of a soak run share. */
import type { SmallSite } from '../faults/small-site.js';
import type { StoreUnderTest } from '../faults/store-under-test.js';
import type { PreloadedSyncFault } from '../support/preloaded-sync-fault.js';
import type { ExpectedMarks } from './expected-marks.js';
import type { Random } from './random.js';

export interface SoakWorld {
  readonly site: SmallSite;
  readonly store: StoreUnderTest;
  readonly vms: readonly string[];
  readonly random: Random;
  readonly marks: ExpectedMarks;
  /** Jobs whose result has to be looked at. */
  readonly verifications: string[];
  /** Names given to recovery points so far. */
  readonly tags: { count: number };
  /** Where there is a C compiler. */
  readonly syncFault: PreloadedSyncFault | undefined;
  /** What the disks lie on. */
  readonly volume: { readonly folder: string; readonly mebibytes: number };
  /** Records that were damaged in the store: what they tell of is lost. */
  readonly damaged: string[];
  find(what: string): void;
}

export type Action = (world: SoakWorld, vm: string) => Promise<unknown>;

/** A refusal is an answer: the VM is busy, paused, or marked; or the workers are being killed. */
export const asked = (work: Promise<unknown>) => work.catch(() => undefined);
