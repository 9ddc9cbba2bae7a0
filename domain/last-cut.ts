/**
 * Whether a cut of the source holds everything, so that the VM can continue elsewhere without loss. Every failover that
 * claims this checks it here. A cut that was final when it was made may no longer hold everything: the VM may have been
 * started since, and have written.
 */
import { toMs } from './time.js';

/** The number of the last write to a disk. */
export interface DiskWrite {
  readonly name: string;
  readonly lastWrite: number;
}

export interface CutOfSource {
  /** The VM was shut down and its exports were closed when the logs were sealed. */
  readonly final: boolean;
  /** ISO 8601, by the source's clock. */
  readonly sealedAt: string;
  /** The last write to each disk that the cut holds. */
  readonly lastWrites: readonly DiskWrite[];
  /**
   * The last write to each disk that the tracker has taken, asked after the cut was made, while the VM is off.
   * Undefined while the VM runs, and if its writes are no longer counted.
   */
  readonly issued?: readonly DiskWrite[] | undefined;
}

/** @param exportsClosedAt when the failover's own shutdown closed the exports; ISO 8601, by the source's clock. */
export const holdsEverything = (cut: CutOfSource, exportsClosedAt: string): boolean =>
  wasCutAfter(cut, exportsClosedAt) && cut.issued !== undefined && sameWrites(cut.issued, cut.lastWrites);

/** As far as the cut itself shows. */
const wasCutAfter = ({ final, sealedAt }: CutOfSource, exportsClosedAt: string): boolean =>
  final && toMs(sealedAt) >= toMs(exportsClosedAt);

/**
 * A failover requests at most this many cuts: earlier failovers that failed may have made the first ones, and such a
 * cut no longer holds everything.
 */
export const MOST_CUTS = 5;

export interface ComparedWrites {
  readonly name: string;
  readonly lastWriteIssued: number;
  readonly lastWriteApplied: number;
}

/** @param issued by the source's tracker. @param applied to the replica; a disk that it lacks counts as 0. */
export const comparedWrites = (issued: readonly DiskWrite[], applied: readonly DiskWrite[]): ComparedWrites[] =>
  issued.map(({ name, lastWrite }) => ({
    name,
    lastWriteIssued: lastWrite,
    lastWriteApplied: applied.find((disk) => disk.name === name)?.lastWrite ?? 0,
  }));

export const sameWrites = (issued: readonly DiskWrite[], held: readonly DiskWrite[]): boolean =>
  issued.length === held.length &&
  comparedWrites(issued, held).every(({ lastWriteIssued, lastWriteApplied }) => lastWriteIssued === lastWriteApplied);
