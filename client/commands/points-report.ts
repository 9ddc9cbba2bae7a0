/** The recovery points of a VM, and which of them each kind of choice means now. */
import { CatalogueError } from '../../domain/errors.js';
import {
  chooseRecoveryPoint,
  selectorText,
  type RecoveryPointSelector,
  type RecoveryState,
} from '../../domain/recovery-point.js';
import { recoveryPointId, type RecoveryPoint } from '../../domain/vault.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { table } from '../output.js';

const POINTS_SHOWN = 10;
const choices = [{ kind: 'latest' }, { kind: 'latestProcessed' }, { kind: 'latestAppConsistent' }] as const;

export const pointsValue = (recovery: RecoveryState | undefined) => ({
  recoveryPoints: recovery?.points.map(({ id, time, kind, tags, suspect }) => ({ id, time, kind, tags, suspect })),
  latest: recovery && Object.fromEntries(choices.map((choice) => [choice.kind, chosen(choice, recovery)])),
});

/** Of a store that does not tell, what was heard last. */
export function pointsText(recovery: RecoveryState | undefined, { item }: ProtectedItemView): string | undefined {
  if (!recovery) {
    const { latestRecoveryPoint: latest, namedPoints = [] } = item;
    if (!latest) return undefined;
    const names = namedPoints.map(({ tag, id }) => `; ${tag} is ${id}`);
    return `Latest recovery point, as last heard: ${latest.id} of ${latest.time}${names.join('')}`;
  }
  const { points } = recovery;
  if (points.length === 0) return 'No recovery points yet: a cycle that holds changes makes one.';
  const shown = points.slice(-POINTS_SHOWN).toReversed();
  const more = points.length > shown.length ? `\n(${points.length - shown.length} older ones: --json shows all)` : '';
  const list = table(
    ['RECOVERY POINT', 'TIME', 'KIND', 'NAME'],
    shown.map((point) => [point.id, point.time, kindText(point), point.tags?.join(', ') || '-']),
  );
  const meant = choices.map((choice) => `${selectorText(choice)}: ${meantBy(choice, recovery)}`);
  return [list + more + suspectText(points), ...meant].join('\n');
}

export const kindText = ({ kind, suspect }: Pick<RecoveryPoint, 'kind' | 'suspect'>): string =>
  suspect === undefined ? kind : `${kind}, suspect`;

/** What the word means, below a table that has it. */
export function suspectText(points: readonly Pick<RecoveryPoint, 'suspect'>[]): string {
  const reasons = new Set(points.flatMap(({ suspect }) => suspect ?? []));
  return [...reasons].map((reason) => `\nSuspect, may not be what the guest wrote: ${reason}.`).join('');
}

function meantBy(choice: RecoveryPointSelector, recovery: RecoveryState): string {
  const found = chosen(choice, recovery);
  if (!found) return 'none';
  const first = found.process > 0 ? `, once ${found.process} received cycles are processed` : '';
  return `${found.id} of ${found.time}${first}`;
}

/** Undefined: there is no such point. */
export function chosen(choice: RecoveryPointSelector, recovery: RecoveryState) {
  try {
    const target = chooseRecoveryPoint(choice, recovery);
    if (target.from === 'point') return { id: target.point.id, time: target.point.time, process: 0 };
    const { cycle, process } = target;
    return { id: recoveryPointId(cycle.epoch, cycle.sequence), time: cycle.sealedAt, process: process.length };
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'RecoveryPointNotFound') return undefined;
    throw error;
  }
}
