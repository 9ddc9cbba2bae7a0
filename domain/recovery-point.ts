/**
 * Recovery points: which one is meant by Latest, Latest processed, Latest app-consistent or an ID, and which ones a
 * policy no longer keeps. Points are ordered by epoch and sequence. Their times are seal times by the source's clock.
 * That clock may be set back, so times are only shown and measured against the retention, never used for sorting.
 */
import { z } from 'zod';
import { CatalogueError } from './errors.js';
import { compareFences, SEEDED_SEQUENCE, type Fence } from './fence.js';
import { toMs } from './time.js';
import type { DamagedRecord, RecoveryPoint } from './vault.js';

export const recoveryPointSelectorSchema = z.discriminatedUnion('kind', [
  /** Everything received is processed first; gives the lowest RPO. */
  z.object({ kind: z.literal('latest') }),
  /** The newest state that is already processed; gives the lowest RTO. */
  z.object({ kind: z.literal('latestProcessed') }),
  z.object({ kind: z.literal('latestAppConsistent') }),
  /** A point, chosen by its ID or a name that it was given. */
  z.object({ kind: z.literal('custom'), id: z.string().min(1) }),
]);
export type RecoveryPointSelector = z.infer<typeof recoveryPointSelectorSchema>;

/** As operators write it: `latest`, `latest-processed`, `latest-app-consistent`, or an ID or name. */
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

/** The store's records of a VM that are needed to choose a point. */
export interface RecoveryState {
  readonly vm: string;
  /** The epoch in the replica's description: the replica is in this epoch, or is being brought to it. */
  readonly epoch: number;
  /** The newest cycle whose writing to the replica has begun. */
  readonly fence: Fence;
  /** The cycle that the replica disks hold; undefined until their initial copy is complete. */
  readonly applied: SealedCycle | undefined;
  readonly points: readonly RecoveryPoint[];
  /** Cycles whose manifests exist. */
  readonly received: readonly SealedCycle[];
  /** Records that are left out of all of this, because they can't be used. */
  readonly damaged?: readonly DamagedRecord[];
  /** Why a state of this epoch from which no point has been made yet may not match what the guest wrote. */
  readonly suspect?: string;
}

export type RecoveryTarget =
  | { readonly from: 'point'; readonly point: RecoveryPoint }
  /** The replica disks themselves, after the cycles in `process` have been applied in order; they then hold `cycle`. */
  | { readonly from: 'replica'; readonly cycle: SealedCycle; readonly process: readonly SealedCycle[] };

/**
 * The replica disks are usable only while they hold a cycle of the epoch in their description, with nothing written on
 * top: during a resynchronization, or in the middle of a cycle, they are a mixture of two states. A cycle whose writing
 * has begun is completed by processing the received cycles; otherwise the newest stored point is the newest state.
 * @throws CatalogueError RecoveryPointNotFound, which names what was requested and what exists.
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

/**
 * The received cycles that can be applied, up to the first gap. If the writing of a cycle has begun, that cycle is the
 * first.
 */
function unbroken({ applied, epoch, fence, received }: RecoveryState): SealedCycle[] {
  // Fully copied and verified disks accept the first cycle of their epoch.
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
  /** The current time by a clock other than the source's, ISO 8601. */
  readonly at: string;
}

/** Points before this instant are no longer kept. If the source clock runs ahead, the recovery site's clock counts. */
export const retentionStart = (sealedAt: string, now: number, retentionHours: number): number =>
  Math.min(toMs(sealedAt), now) - retentionHours * 3_600_000;

/**
 * The points to delete: those older than the retention, including named ones. The newest one is kept however old it is,
 * so that there is always a point. The newest app-consistent point needs no rule of its own, because nothing within the
 * retention is deleted. A point never counts as older than the points before it: one that was made while the source
 * clock was set back counts from the newest time before it.
 * @param retainedFrom ms since 1970.
 * @param keep IDs of points in use.
 * @param until a point with a later time than this, from a clock that ran ahead, does not make the points after it
 * count as younger, ms since 1970.
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
