/**
 * Recovery points: which one is meant by Latest, Latest processed, Latest app-consistent or an id, and which ones a
 * policy no longer keeps. Points are ordered by epoch and sequence. Their times are the source's seal times, all of
 * one clock; it may be set back, so they are only shown and measured against the retention, never sorted by.
 */
import { z } from 'zod';
import { CatalogueError } from './errors.js';
import { compareFences, SEEDED_SEQUENCE, type Fence } from './fence.js';
import { toMs } from './time.js';
import type { DamagedRecord, RecoveryPoint } from './vault.js';

export const recoveryPointSelectorSchema = z.discriminatedUnion('kind', [
  /** Everything received is processed first: the lowest RPO. */
  z.object({ kind: z.literal('latest') }),
  /** The newest state that is there: the lowest RTO. */
  z.object({ kind: z.literal('latestProcessed') }),
  z.object({ kind: z.literal('latestAppConsistent') }),
  /** A point by its id, or by a name that was given to it. */
  z.object({ kind: z.literal('custom'), id: z.string().min(1) }),
]);
export type RecoveryPointSelector = z.infer<typeof recoveryPointSelectorSchema>;

/** As operators write it: `latest`, `latest-processed`, `latest-app-consistent`, else an id or a name. */
export const selectorOf = (wanted: string): RecoveryPointSelector =>
  selectorWords[wanted] ?? { kind: 'custom', id: wanted };

const selectorWords: Readonly<Record<string, RecoveryPointSelector | undefined>> = {
  latest: { kind: 'latest' },
  'latest-processed': { kind: 'latestProcessed' },
  'latest-app-consistent': { kind: 'latestAppConsistent' },
};

const selectorTitles: Record<RecoveryPointSelector['kind'], string> = {
  latest: 'Latest',
  latestProcessed: 'Latest processed',
  latestAppConsistent: 'Latest app-consistent',
  custom: 'Custom',
};
export const selectorText = (selector: RecoveryPointSelector): string =>
  selector.kind === 'custom' ? `${selectorTitles.custom} ${selector.id}` : selectorTitles[selector.kind];

/** A cycle, and when its logs were sealed at the source. */
export interface SealedCycle extends Fence {
  readonly sealedAt: string;
}

/** What the store holds of a VM, as far as choosing a point needs it. */
export interface RecoveryState {
  readonly vm: string;
  /** Of the replica's description: the epoch it is of, or is being brought to. */
  readonly epoch: number;
  /** Up to where writing has begun. */
  readonly fence: Fence;
  /** What the replica disks hold; undefined while their initial copy is not complete. */
  readonly applied: SealedCycle | undefined;
  readonly points: readonly RecoveryPoint[];
  /** Cycles whose manifest is there. */
  readonly received: readonly SealedCycle[];
  /** What is left out of all this, as it can't be used. */
  readonly damaged?: readonly DamagedRecord[];
  /** Why a state of this epoch that no point is made of yet may not be what the guest wrote. */
  readonly suspect?: string;
}

export type RecoveryTarget =
  | { readonly from: 'point'; readonly point: RecoveryPoint }
  /** The replica disks themselves, once these cycles are applied in this order; `cycle` is what they hold then. */
  | { readonly from: 'replica'; readonly cycle: SealedCycle; readonly process: readonly SealedCycle[] };

/**
 * The replica disks count only while they hold a cycle of the epoch their description names, with nothing written on top:
 * during a resynchronization, or in the middle of a cycle, they are a mixture of two states. A cycle that has been begun
 * is completed by processing what was received; else the newest point that was kept is the newest state.
 * @throws CatalogueError RecoveryPointNotFound, naming what was asked for and what there is.
 */
export function chooseRecoveryPoint(selector: RecoveryPointSelector, state: RecoveryState): RecoveryTarget {
  const points = state.points.toSorted(compareFences);
  const found = choose(selector, state, points);
  if (found) return found;
  const newest = points.slice(-POINTS_NAMED).reverse();
  const more = points.length > newest.length ? ` and ${points.length - newest.length} older ones` : '';
  const there = newest.length > 0 ? `it has ${newest.map(pointText).join(', ')}${more}` : 'it has none';
  const reason =
    selector.kind === 'custom' || selector.kind === 'latestAppConsistent' || replicaOf(state)
      ? ''
      : `; the replica disks hold no complete state of epoch ${state.epoch}`;
  const wanted = selector.kind === 'custom' ? `"${selector.id}"` : `for "${selectorText(selector)}"`;
  const damaged = (state.damaged ?? []).slice(0, POINTS_NAMED).map(({ problem }) => `; ${problem}`);
  throw new CatalogueError(
    'RecoveryPointNotFound',
    `${state.vm} has no recovery point ${wanted}; ${there}${reason}${damaged.join('')}`,
  );
}

const POINTS_NAMED = 10;

function choose(
  selector: RecoveryPointSelector,
  state: RecoveryState,
  points: readonly RecoveryPoint[],
): RecoveryTarget | undefined {
  const ofPoint = (point: RecoveryPoint | undefined) => point && ({ from: 'point', point } as const);
  const replica = replicaOf(state);
  switch (selector.kind) {
    case 'latest': {
      const process = unbroken(state);
      const cycle = process.at(-1) ?? replica;
      return cycle ? { from: 'replica', cycle, process } : ofPoint(points.at(-1));
    }
    case 'latestProcessed':
      return replica ? { from: 'replica', cycle: replica, process: [] } : ofPoint(points.at(-1));
    case 'latestAppConsistent':
      return ofPoint(points.findLast(({ kind }) => kind === 'appConsistent'));
    case 'custom': {
      const byId = points.find(({ id }) => id === selector.id);
      return ofPoint(byId ?? points.findLast(({ tags }) => tags?.includes(selector.id)));
    }
  }
}

const replicaOf = ({ applied, epoch, fence }: RecoveryState): SealedCycle | undefined =>
  applied?.epoch === epoch && compareFences(fence, applied) === 0 ? applied : undefined;

/** The received cycles that can be applied, up to a gap: one that was begun to be written is the first of them. */
function unbroken({ applied, epoch, fence, received }: RecoveryState): SealedCycle[] {
  // Copied disks that were read back take the first cycle of their epoch.
  if (fence.epoch !== epoch || (applied?.epoch !== epoch && fence.sequence < SEEDED_SEQUENCE)) return [];
  const bySequence = new Map(received.filter((one) => one.epoch === epoch).map((one) => [one.sequence, one]));
  const found: SealedCycle[] = [];
  for (let sequence = (applied?.epoch === epoch ? applied.sequence : 0) + 1; ; sequence += 1) {
    const next = bySequence.get(sequence);
    if (!next) return found;
    found.push(next);
  }
}

const pointText = ({ id, kind, tags, time }: RecoveryPoint): string =>
  `${id} (${[...(tags ?? []), kind, time].join(', ')})`;

/** How long recovery points are kept. */
export interface Retention {
  readonly hours: number;
  /** Now, by a clock that is not the source's, ISO 8601. */
  readonly at: string;
}

/** Points before this instant are no longer kept; of a source clock that runs ahead, the recovery site's is believed. */
export const retentionStart = (sealedAt: string, now: number, retentionHours: number): number =>
  Math.min(toMs(sealedAt), now) - retentionHours * 3_600_000;

/**
 * What goes: points older than the retention, named ones too. The newest stays however old it is, so that there always
 * is one; the newest app-consistent one needs no rule of its own, as within the retention nothing goes.
 * No point is older than one before it: made while the source clock was behind it counts from the newest time before it.
 * @param retainedFrom ms since 1970. @param keep ids of points in use.
 * @param until a point of a later time, of a clock that ran ahead, makes no other younger, ms since 1970.
 */
export function pointsToPrune<P extends Pick<RecoveryPoint, 'id' | 'epoch' | 'sequence' | 'time'>>(
  points: readonly P[],
  {
    retainedFrom,
    until = Infinity,
    keep = [],
  }: { readonly retainedFrom: number; readonly until?: number; readonly keep?: readonly string[] },
): P[] {
  const inOrder = points.toSorted(compareFences);
  const gone: P[] = [];
  let newestBefore = -Infinity;
  for (const point of inOrder.slice(0, -1)) {
    const time = toMs(point.time);
    if (Math.max(time, newestBefore) < retainedFrom && !keep.includes(point.id)) gone.push(point);
    if (time <= until) newestBefore = Math.max(newestBefore, time);
  }
  return gone;
}
