/**
 * Undoes the steps of a job that is cancelled or fails, the last one first. Undoing climbs the ladder. If it is given
 * up halfway, the remaining steps are reported. A step that cannot be undone does not prevent the others from being
 * tried.
 */
import type { Failure } from '../domain/errors.js';
import type { Job } from '../domain/job.js';
import { undoingText, type NotUndone, type Undoing } from '../domain/undoing.js';
import { ignoreClosed } from './entity-closed.js';
import { climb, type LadderControl } from './ladder.js';
import { failureOf } from './step-failure.js';
import { undo, type UndoingSides } from './undo.js';

/** The part of a job that undoing needs. */
export interface UndoingJob extends UndoingSides {
  readonly job: Job;
  readonly input: { readonly vm: string; readonly epoch: number };
  readonly ladder: LadderControl;
  tellEntity(): Promise<void>;
}

export class JobUndoing {
  private readonly toUndo: Undoing[] = [];
  private canBegin = true;
  private state: 'not yet' | 'under way' | 'given up' = 'not yet';

  constructor(private readonly of: UndoingJob) {}

  register(what: Undoing): void {
    this.toUndo.push(what);
  }

  /** From here on, nothing is undone. */
  forget(): void {
    this.canBegin = false;
    this.toUndo.length = 0;
  }

  /** False from the point of no return on. */
  get isPossible(): boolean {
    return this.canBegin;
  }

  get isUnderWay(): boolean {
    return this.state !== 'not yet';
  }

  get isGivenUp(): boolean {
    return this.state === 'given up';
  }

  /** If the job is cancelled again while undoing, it ends and leaves the rest. */
  giveUp(): void {
    if (this.state === 'under way') this.state = 'given up';
  }

  async run(): Promise<{ undone?: Undoing[]; notUndone?: NotUndone[] }> {
    const undone: Undoing[] = [];
    const notUndone: NotUndone[] = [];
    const { job, input } = this.of;
    for (let what = this.toUndo.pop(); what !== undefined; what = this.toUndo.pop()) {
      const failure = await this.one(what);
      // If another job has taken over meanwhile, nothing may be undone any more.
      if (!this.canBegin) break;
      if (failure) notUndone.push({ what, epoch: input.epoch, failure });
      else undone.push(what);
    }
    delete job.undoing;
    delete job.retry;
    return { ...(undone.length > 0 && { undone }), ...(notUndone.length > 0 && { notUndone }) };
  }

  /** @returns the failure because of which it was given up, if it was. */
  private async one(what: Undoing): Promise<Failure | undefined> {
    const { job, input, ladder } = this.of;
    const attempt = () => undo(what, this.of, input);
    try {
      if (this.state === 'not yet') this.state = 'under way';
      job.undoing = undoingText[what];
      await this.of.tellEntity().catch(ignoreClosed);
      const climbed = await climb(undoingText[what], attempt, ladder);
      return climbed.done ? undefined : job.retry?.failure;
    } catch (error) {
      return failureOf(error);
    }
  }
}
