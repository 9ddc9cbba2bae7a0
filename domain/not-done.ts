/** A task that was not done, but after which its job continues. */
import type { Task } from './job.js';

export interface NotDone extends Pick<Task, 'state'> {
  readonly state: 'Skipped' | 'Failed';
  readonly reason: string;
}
