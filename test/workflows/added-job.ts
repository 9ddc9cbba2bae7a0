/** A kind of job that exists for its test alone: all of it is in this file. */
import { addJobKind } from '../../domain/jobs/job-definition.js';
import type { Job } from '../../domain/job.js';
import type { JobKind, TaskName } from '../../domain/jobs/known-jobs.js';
import { yes } from '../../domain/permission.js';
import type { JobInput } from '../../workflows/messages.js';
import { runJob } from '../../workflows/run-job.js';

export * from '../../workflows/index.js';

/** What is of no kind that the project knows is of none of its types either. */
const KIND = 'countDisks' as JobKind;
const TASK = 'Counting the disks' as TaskName;

addJobKind({
  kind: KIND,
  title: 'Count the disks',
  tasks: [TASK],
  allowed: (_, { busy, inPhase }) =>
    busy ?? inPhase('Protected', 'only the disks of a protected VM are counted') ?? yes,
  withoutHost: 'waits',
  goesOn: () => true,
  succeeded: (_, ended, { at }) => ({ ...ended, cycleDueAt: at }),
});

/** Its workflow has the name of its kind. */
export async function countDisks(input: JobInput): Promise<Job> {
  return runJob(input, KIND, async (run) => {
    const { vm } = run.input;
    const { disks } = await run.task(TASK, () => run.step('list the disks', () => run.source.checkSource({ vm })));
    return { result: { disks: disks.length } };
  });
}
