/** The recovery point of a test failover. */
import { CatalogueError } from './errors.js';
import { selectorOf, type RecoveryState } from './recovery-point.js';
import type { RecoveryPoint } from './vault.js';

/** As many points as a refusal names. */
const POINTS_NAMED = 10;

/**
 * The newest point of that kind, or the named one. Points that a verification has found suspect are not used. The live
 * replica is not used either, because it changes with every cycle.
 * @param wanted `latest`, `latest-app-consistent`, or the ID or name of a point.
 * @throws CatalogueError RecoveryPointNotFound, which names the points that can be used.
 */
export function chooseTestPoint({ vm, points }: Pick<RecoveryState, 'vm' | 'points'>, wanted: string): RecoveryPoint {
  const usable = points.filter(({ suspect }) => suspect === undefined);
  const point = pointAmong(usable, wanted);
  if (point) return point;
  const suspect = pointAmong(points, wanted)?.suspect;
  const why = suspect === undefined ? '' : ` that is not suspect (${suspect})`;
  const named = usable.slice(-POINTS_NAMED).map(({ id, kind, time }) => `${id} (${kind}, ${time})`);
  const there = named.length > 0 ? `usable: ${named.toReversed().join('; ')}` : 'it has no usable point';
  throw new CatalogueError('RecoveryPointNotFound', `${vm} has no recovery point "${wanted}"${why}; ${there}`);
}

function pointAmong(points: readonly RecoveryPoint[], wanted: string): RecoveryPoint | undefined {
  const selector = selectorOf(wanted);
  switch (selector.kind) {
    case 'latest':
    case 'latestProcessed':
      return points.at(-1);
    case 'latestAppConsistent':
      return points.findLast(({ kind }) => kind === 'appConsistent');
    case 'custom': {
      const { id: wantedId } = selector;
      return points.find(({ id }) => id === wantedId) ?? points.findLast(({ tags }) => tags?.includes(wantedId));
    }
  }
}
