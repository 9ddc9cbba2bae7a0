/** The recovery points of a VM, and the one that each kind of choice selects now. */
import { CatalogueError } from '../../domain/errors.js';
import {
  chooseRecoveryPoint,
  selectorText,
  type RecoveryPointSelector,
  type RecoveryState,
} from '../../domain/recovery-point.js';
import { recoveryPointId, type DamagedRecord, type RecoveryPoint } from '../../domain/vault.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { table } from '../output.js';

const POINTS_SHOWN = 10;
const choices = [{ kind: 'latest' }, { kind: 'latestProcessed' }, { kind: 'latestAppConsistent' }] as const;

export const pointValue = ({ id, time, kind, tags, suspect }: RecoveryPoint) => ({ id, time, kind, tags, suspect });

export const pointsValue = (recovery: RecoveryState | undefined) => ({
  recoveryPoints: recovery?.points.map(pointValue),
  damaged: recovery?.damaged,
  latest: recovery && {
    latest: chosen({ kind: 'latest' }, recovery),
    latestProcessed: chosen({ kind: 'latestProcessed' }, recovery),
    latestAppConsistent: chosen({ kind: 'latestAppConsistent' }, recovery),
  },
});

/** If the store does not answer, the points that were last reported. */
export function pointsText(recovery: RecoveryState | undefined, { item }: ProtectedItemView): string | undefined {
  if (!recovery) {
    const { latestRecoveryPoint: latest, namedPoints = [] } = item;
    if (!latest) return undefined;
    const names = namedPoints.map(({ tag, id }) => `; ${tag} is ${id}`);
    return `Latest recovery point, as last reported: ${latest.id} of ${latest.time}${names.join('')}`;
  }
  const { points } = recovery;
  const left = damagedText(recovery.damaged);
  if (points.length === 0) return `No recovery points yet: the next cycle with changes makes one.${left}`;
  const shown = points.slice(-POINTS_SHOWN).toReversed();
  const more = points.length > shown.length ? `\n(${points.length - shown.length} older ones: --json shows all)` : '';
  const list = table(
    ['RECOVERY POINT', 'TIME', 'KIND', 'NAME'],
    shown.map((point) => [point.id, point.time, kindText(point), point.tags?.join(', ') || '-']),
  );
  const meant = choices.map((choice) => `${selectorText(choice)}: ${meantBy(choice, recovery)}`);
  return [list + more + suspectText(points) + left, ...meant].join('\n');
}

export const kindText = ({ kind, suspect }: Pick<RecoveryPoint, 'kind' | 'suspect'>): string =>
  suspect === undefined ? kind : `${kind}, suspect`;

/** Explains the word "suspect", below a table that contains it. */
export function suspectText(points: readonly Pick<RecoveryPoint, 'suspect'>[]): string {
  const reasons = new Set(points.flatMap(({ suspect }) => suspect ?? []));
  return [...reasons].map((reason) => `\nSuspect, may not match what the guest wrote: ${reason}.`).join('');
}

/** Records that can't be used, listed below those that can. */
export const damagedText = (damaged: readonly DamagedRecord[] = []): string =>
  damaged.map(({ problem }) => `\nDamaged and left out: ${problem}.`).join('');

function meantBy(choice: RecoveryPointSelector, recovery: RecoveryState): string {
  const found = chosen(choice, recovery);
  if (!found) return 'none';
  const first = found.process > 0 ? `, after processing ${found.process} received cycles` : '';
  return `${found.id} of ${found.time}${first}${found.suspect === undefined ? '' : ', suspect'}`;
}

/** Undefined if there is no such point. */
export function chosen(choice: RecoveryPointSelector, recovery: RecoveryState) {
  try {
    const target = chooseRecoveryPoint(choice, recovery);
    const { id, time, process } =
      target.from === 'point'
        ? { ...target.point, process: 0 }
        : {
            id: recoveryPointId(target.cycle.epoch, target.cycle.sequence),
            time: target.cycle.sealedAt,
            process: target.process.length,
          };
    // A point may already exist for the cycle of the current state; then the point has the latest information.
    const made = recovery.points.find((point) => point.id === id);
    const suspect = made ? made.suspect : recovery.suspect;
    return { id, time, process, ...(suspect !== undefined && { suspect }) };
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'RecoveryPointNotFound') return undefined;
    throw error;
  }
}
