/** The record of a job, which shows what it is made of from the start. */
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

/** One that an older version began may have it under another name, in the same place. */
export function taskOf({ kind, tasks }: Job, name: string): Task | undefined {
  const names = jobDefinition(kind).tasks;
  return tasks.find((task) => task.name === name) ?? tasks[names.indexOf(name)];
}
