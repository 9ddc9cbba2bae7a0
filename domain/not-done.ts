/** A task that its job goes on after, though it was not done. */
import type { Task } from './job.js';

export interface NotDone extends Pick<Task, 'state'> {
  readonly state: 'Skipped' | 'Failed';
  readonly reason: string;
}
