/**
 * When a cut of the source holds everything, so that a VM can continue elsewhere from it without loss. Every failover
 * that says so asks here. A cut that was final once need not be it any more: the VM may have been started since, and have
 * written.
 */
import { toMs } from './time.js';

/** Per disk, the number of a write. */
export interface DiskWrite {
  readonly name: string;
  readonly lastWrite: number;
}

export interface CutOfSource {
  /** The VM was shut down, its exports closed, when the logs were sealed. */
  readonly final: boolean;
  /** ISO 8601, by the source's clock. */
  readonly sealedAt: string;
  /** The last write that the cut holds. */
  readonly lastWrites: readonly DiskWrite[];
  /**
   * The last write that the tracker has taken, asked once the cut was there, of a VM that is off. Undefined while it runs,
   * and where its writes are not counted any more.
   */
  readonly issued?: readonly DiskWrite[] | undefined;
}

/** @param exportsClosedAt of the shutdown that the failover itself has made; ISO 8601, by the source's clock. */
export const holdsEverything = (cut: CutOfSource, exportsClosedAt: string): boolean =>
  wasCutAfter(cut, exportsClosedAt) && cut.issued !== undefined && sameWrites(cut.issued, cut.lastWrites);

/** As far as the cut itself tells. */
const wasCutAfter = ({ final, sealedAt }: CutOfSource, exportsClosedAt: string): boolean =>
  final && toMs(sealedAt) >= toMs(exportsClosedAt);

/** So many cycles may have been cut before, by failovers that came to nothing; the one after them is made now. */
export const MOST_CUTS = 5;

export interface ComparedWrites {
  readonly name: string;
  readonly lastWriteIssued: number;
  readonly lastWriteApplied: number;
}

/** @param issued of the source's tracker. @param applied of what the replica holds; a disk that it lacks counts as 0. */
export const comparedWrites = (issued: readonly DiskWrite[], applied: readonly DiskWrite[]): ComparedWrites[] =>
  issued.map(({ name, lastWrite }) => ({
    name,
    lastWriteIssued: lastWrite,
    lastWriteApplied: applied.find((disk) => disk.name === name)?.lastWrite ?? 0,
  }));

const sameWrites = (issued: readonly DiskWrite[], held: readonly DiskWrite[]): boolean =>
  issued.length === held.length &&
  comparedWrites(issued, held).every(({ lastWriteIssued, lastWriteApplied }) => lastWriteIssued === lastWriteApplied);
