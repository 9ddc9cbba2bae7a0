/** The record of a job, which lists all its tasks from the start. */
import type { Job, Task } from '../job.js';
import { jobDefinition, type JobKind } from './known-jobs.js';

export const newJob = (kind: JobKind, id: string, vault: string, vm: string, startedAt: string): Job => ({
  id,
  kind,
  vault,
  vm,
  state: 'InProgress',
  startedAt,
  tasks: jobDefinition(kind).tasks.map((name) => ({ name, state: 'NotStarted' })),
});

/** In the record of a job that an older version began, the task may have another name, but it is in the same place. */
export function taskOf({ kind, tasks }: Job, name: string): Task | undefined {
  const names = jobDefinition(kind).tasks;
  return tasks.find((task) => task.name === name) ?? tasks[names.indexOf(name)];
}
